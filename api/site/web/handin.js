// Hand in: drop or choose scans, see them go up. Knows uploads; what becomes of a job is the job's page's.

import { isAbort } from "/web/api.js";
import { add, fill, h, problemNote, say } from "/web/dom.js";
import { drawing } from "/web/draw.js";
import { asJobs, chosen, dropped, MOST_FILES } from "/web/files.js";
import { latestJobs } from "/web/jobs.js";
import { optionsForm } from "/web/options.js";
import { newIdempotencyKey, upload } from "/web/upload.js";
import { count, plural, size } from "/web/words.js";

export async function show(main, { signal }) {
  const options = optionsForm();
  const uploads = h("ul", { class: "uploads" });
  const files = h("input", {
    type: "file",
    multiple: true,
    id: "files",
    class: "unseen",
    tabindex: -1,
    "aria-label": "Zip or images",
  });
  const folder = h("input", {
    type: "file",
    webkitdirectory: true,
    id: "folder",
    class: "unseen",
    tabindex: -1,
    "aria-label": "Folder",
  });

  async function handIn(scans) {
    const jobs = asJobs(scans);
    if (jobs.length === 0) say("There are no files in it.");
    const done = await Promise.all(jobs.map((job) => sent(job, options.chosen, uploads, signal)));
    if (done.length === 1 && done[0] && !signal.aborted) location.hash = `#/jobs/${done[0].id}`;
  }
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      handIn(chosen(input));
      input.value = "";
    });
  }

  add(
    main,
    h(
      "div",
      { class: "halves" },
      h(
        "section",
        { "aria-labelledby": "handin-title" },
        h("h1", { id: "handin-title" }, "Hand in scans"),
        h(
          "p",
          { class: "lead" },
          "Of single handwritten characters. Each becomes one row: what it says, and how sure that is.",
        ),
        h(
          "div",
          { class: "drop" },
          h("p", { class: "drop-words" }, "Drop a zip, a folder or images"),
          h(
            "p",
            { class: "actions" },
            h("button", { type: "button", class: "primary", onclick: () => files.click() }, "Choose files"),
            h("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"),
          ),
          h(
            "p",
            { class: "note" },
            `PNG, JPEG, WebP, TIFF or BMP. More than ${count(MOST_FILES)} images: put them in a zip.`,
          ),
          files,
          folder,
        ),
        uploads,
        options.element,
      ),
      drawing(signal),
    ),
  );
  acceptDrops(main.querySelector(".drop"), handIn, signal);
  add(main, await latestJobs(signal));
}

/** Files may be dropped anywhere on the page: beside the box, a browser would open them and leave. */
function acceptDrops(box, handIn, signal) {
  const over = (event) => {
    event.preventDefault();
    box.classList.add("over");
  };
  addEventListener("dragover", over, { signal });
  addEventListener(
    "dragleave",
    (event) => {
      if (!event.relatedTarget) box.classList.remove("over");
    },
    { signal },
  );
  addEventListener(
    "drop",
    async (event) => {
      event.preventDefault();
      box.classList.remove("over");
      handIn(await dropped(event.dataTransfer));
    },
    { signal },
  );
}

/**
 * Send one job's files, shown as a line with progress. Returns the job; null where it could not be handed in.
 * @param {() => URLSearchParams} chosenOptions the options, asked for again with each attempt: they may be what was
 *   wrong
 */
async function sent(job, chosenOptions, list, signal) {
  const line = h("li", { class: "upload" });
  list.prepend(line);
  if (!job.zip && job.scans.length > MOST_FILES) {
    fill(
      line,
      problemNote({
        title: `${job.name} has too many files`,
        detail: `It has ${count(job.scans.length)}, and one form takes ${count(MOST_FILES)}. Put them in a zip, which may hold far more, and drop that.`,
      }),
    );
    return null;
  }
  const keys = new Map(); // by options: the service takes a key with others for a mistake
  return new Promise((resolve) => {
    const attempt = async () => {
      const options = chosenOptions();
      if (!options.has("name")) options.set("name", job.name.slice(0, 200));
      const idempotencyKey = keys.get(String(options)) ?? newIdempotencyKey();
      keys.set(String(options), idempotencyKey);
      const stop = new AbortController();
      const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${job.name}` });
      const words = h("span", { class: "note" }, `${size(job.bytes)}`);
      fill(
        line,
        h("strong", {}, job.name),
        bar,
        words,
        h("button", { type: "button", class: "quiet", onclick: () => stop.abort() }, "Stop"),
      );
      const onProgress = ({ sent: bytes, total, rate }) => {
        bar.value = bytes / total;
        words.textContent =
          bytes < total
            ? `${size(bytes)} of ${size(total)}${rate ? `, ${size(rate)}/s` : ""}`
            : `${size(total)} sent; the service looks through ${job.zip ? "the zip" : plural(job.scans.length, "file")}`;
      };
      try {
        const made = await upload(job, options, idempotencyKey, onProgress, AbortSignal.any([signal, stop.signal]));
        fill(
          line,
          h("strong", {}, job.name),
          h("a", { href: `#/jobs/${made.id}` }, `${plural(made.counts.total, "row")}: see the job`),
        );
        say(`${job.name} is handed in: ${plural(made.counts.total, "row")}.`);
        resolve(made);
      } catch (problem) {
        if (isAbort(problem)) {
          line.remove();
          resolve(null);
        } else {
          fill(
            line,
            h("strong", {}, job.name),
            problemNote(
              problem,
              h("button", { type: "button", onclick: attempt }, "Try again"),
              h(
                "button",
                {
                  type: "button",
                  class: "quiet",
                  onclick: () => {
                    line.remove();
                    resolve(null);
                  },
                },
                "Leave it",
              ),
            ),
          );
        }
      }
    };
    attempt();
  });
}
