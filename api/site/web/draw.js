// Draw a character and see it read. Each reading is a job of one image, deleted at once: no drawing is kept.

import { isAbort, jobPath, json, request } from "/web/api.js";
import { bothCases, modelCard } from "/web/characters.js";
import { fill, h, pause } from "/web/dom.js";
import { sureness } from "/web/words.js";

const SIDE = 280; // pixels of the picture that is sent
const PEN = 17; // about as wide, for the character's size, as EMNIST's
const AFTER_MS = 120; // of drawing, the picture is read

/** A canvas with what it says beside it. */
export function drawing(signal) {
  const canvas = h("canvas", {
    width: SIDE,
    height: SIDE,
    class: "paper",
    role: "img",
    "aria-label": "A sheet to draw one character on, with a mouse, a pen or a finger",
  });
  const answer = h("div", { class: "reading", "aria-live": "polite" });
  const pen = canvas.getContext("2d");
  let drawn = 0; // grows with each stroke's piece; 0 is an empty sheet

  function clear() {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, SIDE, SIDE);
    drawn = 0;
    fill(answer, h("p", { class: "note" }, "It is read while you draw."));
  }

  listenToPen(canvas, pen, signal, () => {
    drawn += 1;
  });
  keepReading(canvas, answer, () => drawn, signal);
  clear();
  return h(
    "section",
    { class: "drawing", "aria-labelledby": "draw-title" },
    h(
      "div",
      { class: "drawing-head" },
      h("h2", { id: "draw-title" }, "Or draw a character"),
      h("button", { type: "button", class: "quiet", onclick: clear }, "Clear"),
    ),
    h("div", { class: "sheet" }, canvas, answer),
  );
}

function listenToPen(canvas, pen, signal, onInk) {
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  const line = (to) => {
    pen.strokeStyle = "#111";
    pen.lineWidth = PEN;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
    onInk();
  };
  canvas.addEventListener(
    "pointerdown",
    (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = at(event);
      line(last);
    },
    { signal },
  );
  canvas.addEventListener(
    "pointermove",
    (event) => {
      if (last) for (const each of event.getCoalescedEvents?.() ?? [event]) line(at(each));
    },
    { signal },
  );
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(
      end,
      () => {
        last = null;
      },
      { signal },
    );
}

/** One reading at a time, each of the latest drawing. */
async function keepReading(canvas, answer, drawn, signal) {
  let read = 0;
  while (!signal.aborted) {
    await pause(AFTER_MS, signal);
    if (drawn() === read) continue;
    read = drawn();
    if (read === 0) continue;
    try {
      const shown = await reading(canvas, signal);
      if (drawn() !== 0) fill(answer, shown);
    } catch (problem) {
      if (isAbort(problem)) return;
      fill(answer, h("p", { class: "bad" }, problem.detail));
      await pause(1000 * (problem.retryAfterSeconds ?? 1), signal);
    }
  }
}

async function reading(canvas, signal) {
  const png = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const job = await json("/v1/jobs?name=drawing&top_k=5", {
    method: "POST",
    body: png,
    headers: { "Content-Type": "image/png", Prefer: "wait=10" },
  });
  try {
    if (!job.results) return h("p", { class: "note" }, "The service is busy; it is read again when you go on.");
    const [row] = job.results;
    if (row.status !== "classified") return h("p", {}, row.detail ?? "There is no ink on it.");
    const { classes } = await modelCard();
    const seen = await request(`${jobPath(job.id)}/items/0/image?view=model`, { signal });
    return answerOf(row, classes, URL.createObjectURL(await seen.blob()));
  } finally {
    // Not bound to the signal: it goes though the page is left.
    request(jobPath(job.id), { method: "DELETE", keepalive: true }).catch(() => {});
  }
}

function answerOf(row, classes, seenUrl) {
  const both = bothCases(row.label, classes);
  const seen = h("img", {
    class: "seen",
    alt: "The 28 by 28 picture that the network saw",
    width: 84,
    height: 84,
    onload: () => URL.revokeObjectURL(seenUrl),
  });
  seen.src = seenUrl;
  return [
    h(
      "div",
      { class: "read" },
      h("span", { class: "label" }, row.label),
      both && h("span", { class: "note" }, both),
      seen,
    ),
    h(
      "ol",
      { class: "bars" },
      row.top.map(({ label, confidence }) => {
        const bar = h("span", { class: "bar", "aria-hidden": "true" });
        bar.style.width = `${100 * confidence}%`;
        return h(
          "li",
          {},
          h("span", { class: "code" }, label),
          h("span", { class: "track" }, bar),
          h("span", { class: "number" }, sureness(confidence)),
        );
      }),
    ),
  ];
}
