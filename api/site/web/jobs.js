// The list of jobs, with how far each is. Knows many jobs at a glance; job.js follows one closely.
// It asks again while one runs: a stream for each would take the six connections that a browser opens to a host.

import { isAbort, json } from "/web/api.js";
import { countsBar } from "/web/counts.js";
import { add, fill, h, pause } from "/web/dom.js";
import { duration, hasEnded, moment, percent, plural, titleOf } from "/web/words.js";

const RUNNING_MS = 1000;
const RESTING_MS = 5000;
const PAGE = 20;
const LATEST = 4;
const DRAWING_MS = 20_000; // drawings are deleted once they are read, which takes less

export async function show(main, { signal }) {
  const list = h("ul", { class: "jobs" });
  const more = h("button", { type: "button", hidden: true }, "Show older jobs");
  add(main, h("h1", {}, "Jobs"), list, h("p", { class: "actions" }, more));
  const seen = new Map();
  let next = null; // the cursor of what is older than all that were seen

  const ask = async () => {
    const page = await json(`/v1/jobs?limit=${PAGE}`, { signal });
    const oldest = page.next === null ? "" : page.jobs.at(-1).id;
    for (const id of seen.keys()) if (id >= oldest) seen.delete(id); // ids are in time order: these may be gone
    for (const job of page.jobs) seen.set(job.id, job);
    if (seen.size === page.jobs.length) next = page.next;
    more.hidden = next === null;
    return [...seen.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  };
  more.addEventListener("click", async () => {
    const page = await json(`/v1/jobs?limit=${PAGE}&cursor=${encodeURIComponent(next)}`, { signal });
    for (const job of page.jobs) seen.set(job.id, job);
    next = page.next;
    more.hidden = next === null;
    fill(list, [...seen.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).map(jobLine));
  });
  await keepShowing(list, ask, signal);
}

/** A section with the latest few, for the first page. */
export async function latestJobs(signal) {
  const list = h("ul", { class: "jobs" });
  const section = h(
    "section",
    { class: "latest", "aria-labelledby": "latest-title" },
    h("h2", { id: "latest-title" }, "Latest jobs"),
    list,
    h("p", {}, h("a", { href: "#/jobs" }, "All jobs")),
  );
  await keepShowing(list, async () => (await json(`/v1/jobs?limit=${LATEST}`, { signal })).jobs, signal);
  return section;
}

/** Show what `ask` answers now, and go on doing so. Raises Problem where the first answer is one. */
async function keepShowing(list, ask, signal) {
  const showing = (all) => {
    const jobs = all.filter((job) => !isDrawing(job));
    fill(
      list,
      jobs.length > 0
        ? jobs.map(jobLine)
        : h("li", { class: "note" }, "There are no jobs yet. ", h("a", { href: "#/" }, "Hand in scans"), "."),
    );
    return jobs.some((job) => !hasEnded(job));
  };
  let running = showing(await ask());
  const goOn = async () => {
    while (true) {
      await pause(running ? RUNNING_MS : RESTING_MS, signal);
      if (signal.aborted) return;
      try {
        const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        running = showing(await ask());
        if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      } catch (problem) {
        if (!isAbort(problem) && list.querySelector(".problem") === null) {
          list.prepend(h("li", { class: "problem" }, `${problem.detail} The list is from before.`));
        }
      }
    }
  };
  goOn();
}

const isDrawing = (job) =>
  job.kind === "image" && job.name === "drawing" && Date.now() - Date.parse(job.created_at) < DRAWING_MS;

function jobLine(job) {
  const { counts } = job;
  return h(
    "li",
    {},
    h("a", { href: `#/jobs/${job.id}`, class: "job-name" }, titleOf(job)),
    h("span", { class: `state ${job.state}` }, job.state),
    countsBar(counts),
    h(
      "span",
      { class: "note" },
      [
        hasEnded(job) ? plural(counts.total, "row") : `${percent(job.progress, 0)} of ${plural(counts.total, "row")}`,
        !hasEnded(job) && job.eta_seconds !== null && `${duration(job.eta_seconds)} left`,
        counts.rejected > 0 && `${plural(counts.rejected, "file")} could not be read`,
        job.created_at && moment(job.created_at),
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
}
