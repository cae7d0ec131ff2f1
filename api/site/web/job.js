// One job: watch it move, stop it, erase it, see what it needs. Knows its snapshots; nothing of single rows.

import { isAbort, jobPath, json, Problem, request } from "/web/api.js";
import { below, verdict } from "/web/confidence.js";
import { countsBar, countsTable } from "/web/counts.js";
import { add, fill, h, problemNote, say } from "/web/dom.js";
import { snapshots } from "/web/follow.js";
import { count, duration, hasEnded, moment, percent, plural, titleOf } from "/web/words.js";

export async function show(main, { id, signal }) {
  let job = await json(jobPath(id), { signal });
  const state = h("span");
  const body = h("div", { class: "watch" });
  const verdictBox = h("div");
  const problems = h("div");
  add(
    main,
    jobHead(job, "", state),
    problems,
    body,
    verdictBox,
    optionsOf(job),
    actions(id, () => job, problems),
  );

  const showing = () => {
    fill(state, h("span", { class: `state ${job.state}` }, job.state));
    fill(
      body,
      progressOf(job),
      job.warnings.map((warning) => h("p", { class: "warning" }, warning)),
    );
    main.querySelector(".cancel").hidden = hasEnded(job);
  };
  showing();
  if (!hasEnded(job)) {
    for await (const event of snapshots(id, signal)) {
      if (event.deleted)
        throw new Problem(404, { title: "The job was deleted", detail: "Somebody with the same key has erased it." });
      fill(
        problems,
        event.lost &&
          h("p", { class: "warning" }, `${event.lost.detail} The numbers are from before; the page goes on by itself.`),
      );
      if (event.job) {
        job = event.job;
        showing();
      }
    }
    if (signal.aborted) return;
    say(`${titleOf(job)} is ${job.state}.`);
  }
  if (job.state !== "failed") fill(verdictBox, whatItNeeds(job, await json(`${jobPath(id)}/summary`, { signal })));
}

/** The name of a job with the ways to look at it. `view` is the last part of the address. */
export function jobHead(job, view, ...more) {
  const tab = (name, words) =>
    h("a", { href: `#/jobs/${job.id}${name && `/${name}`}`, "aria-current": name === view && "page" }, words);
  return h(
    "header",
    { class: "job-head" },
    h("div", { class: "job-title" }, h("h1", {}, titleOf(job)), more),
    h(
      "nav",
      { class: "tabs", "aria-label": "Views of the job" },
      tab("", "Progress"),
      tab("look", "Look and correct"),
      tab("take", "Take away"),
    ),
  );
}

function progressOf(job) {
  const ended = hasEnded(job);
  const facts = [
    !ended && percent(job.progress, 0),
    job.rate !== null && `${count(Math.round(job.rate))} images/s`,
    !ended && (job.eta_seconds !== null ? `${duration(job.eta_seconds)} left` : "waiting for a worker"),
    ended && job.ended_at && `took ${duration((Date.parse(job.ended_at) - Date.parse(job.created_at)) / 1000)}`,
    job.created_at && `handed in ${moment(job.created_at)}`,
    job.ignored > 0 && `${plural(job.ignored, "folder or hidden file", "folders and hidden files")} passed over`,
  ];
  return [
    countsBar(job.counts),
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    countsTable(job.counts),
  ];
}

/** "9,812 of 10,000 rows are 99 % likely right; 143 are worth a look", with where to do it. */
function whatItNeeds(job, summary) {
  const { threshold, likely, doubtful } = verdict(summary);
  const { total, blank, rejected, cancelled } = job.counts;
  const rest = [
    [blank, "blank", "blank"],
    [rejected, "rejected", "not readable"],
    [cancelled, "cancelled", "cancelled"],
  ]
    .filter(([rows]) => rows > 0)
    .map(([rows, status, words]) => [
      "; ",
      h("a", { href: `#/jobs/${job.id}/look?sort=row&status=${status}` }, `${count(rows)} ${words}`),
    ]);
  const look = `#/jobs/${job.id}/look?sort=confidence`;
  const lookBelow = `${look}&max_confidence=${below(threshold)}&reviewed=false`;
  return h(
    "section",
    { class: "verdict", "aria-label": "What the job needs" },
    h(
      "p",
      { class: "lead" },
      `${count(likely)} of ${plural(total, "row")} ${likely === 1 ? "is" : "are"} 99 % likely right; `,
      doubtful > 0
        ? h("a", { href: lookBelow }, `${count(doubtful)} ${doubtful === 1 ? "is" : "are"} worth a look`)
        : "none need a look",
      rest,
      ".",
    ),
    summary.reviewed > 0 &&
      h(
        "p",
        { class: "note" },
        `${count(summary.reviewed)} looked at by a person, ${count(summary.changed)} of them changed.`,
      ),
    h(
      "p",
      { class: "actions" },
      h(
        "a",
        { class: "button primary", href: doubtful > 0 ? lookBelow : look },
        doubtful > 0 ? "Look at the doubtful ones" : "Look at the rows",
      ),
      h("a", { class: "button", href: `#/jobs/${job.id}/take` }, "Take the results away"),
    ),
  );
}

function actions(id, job, problems) {
  const sure = h(
    "span",
    { class: "actions", hidden: true },
    "Erase its scans, results and corrections for good?",
    h(
      "button",
      {
        type: "button",
        class: "danger",
        onclick: () =>
          attempt(async () => {
            await request(jobPath(id), { method: "DELETE" });
            location.hash = "#/jobs";
          }),
      },
      "Erase it",
    ),
    h(
      "button",
      {
        type: "button",
        onclick: () => {
          sure.hidden = true;
          ask.hidden = false;
          ask.focus();
        },
      },
      "Keep it",
    ),
  );
  const ask = h(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: () => {
        sure.hidden = false;
        ask.hidden = true;
        sure.querySelector("button").focus();
      },
    },
    "Delete",
  );
  const attempt = async (act) => {
    try {
      await act();
    } catch (problem) {
      if (!isAbort(problem)) fill(problems, problemNote(problem));
    }
  };
  const stop = () =>
    attempt(async () => {
      await request(`${jobPath(id)}/cancel`, { method: "POST" });
      say("The job is cancelled.");
    });
  return h(
    "p",
    { class: "actions" },
    h(
      "button",
      { type: "button", class: "cancel", onclick: stop, hidden: hasEnded(job()) },
      "Cancel, and keep what is done",
    ),
    ask,
    sure,
  );
}

function optionsOf(job) {
  if (!job.options) return null;
  const {
    charset,
    charset_rules: rules,
    top_k: topK,
    invert,
    filename_encoding: encoding,
    callback_url: callback,
  } = job.options;
  const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", { class: "code" }, value));
  return h(
    "details",
    {},
    h("summary", {}, "How it was handed in"),
    h(
      "dl",
      { class: "plain" },
      fact("Id", job.id),
      fact("Kind", job.kind),
      fact("Characters", charset),
      fact("By file name", rules.join(", ")),
      fact("Answers a row", String(topK)),
      fact("Ink", invert),
      fact("File names", encoding),
      fact("Told when it ends", callback),
    ),
  );
}
