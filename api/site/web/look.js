// Look and correct: the rows of a job beside their pictures, and a person's word on them. Joins the grid, the filters,
// the histogram, the selected row and the corrections; each knows its own part.

import { isAbort, jobPath, json } from "/web/api.js";
import { fillCard, spoken } from "/web/card.js";
import { modelCard } from "/web/characters.js";
import { verdict } from "/web/confidence.js";
import { Corrections } from "/web/corrections.js";
import { Detail } from "/web/detail.js";
import { add, fill, h, problemNote, say } from "/web/dom.js";
import { Filters, queryOf } from "/web/filters.js";
import { Grid } from "/web/grid.js";
import { Histogram } from "/web/histogram.js";
import { jobHead } from "/web/job.js";
import { Pictures } from "/web/pictures.js";
import { Rows } from "/web/rows.js";
import { count, plural } from "/web/words.js";

const AHEAD = 60; // rows fetched beyond the selected one, so that typing never waits
const WIDE = "(min-width: 64rem)";
const SUMMARY_MS = 1500; // after the last correction, the histogram is asked for again
const ADDRESS_MS = 300;

export async function show(main, { id, query: given, signal }) {
  const [job, card, first] = await Promise.all([
    json(jobPath(id), { signal }),
    modelCard(),
    json(`${jobPath(id)}/summary`, { signal }),
  ]);
  const { classes } = card;
  let summary = first;
  let query = queryOf(given);
  let rows = null; // of the query, once they have begun to come
  let asked = new AbortController();
  let summing = 0;
  let remembering = 0;
  const pictures = new Pictures(id, signal);
  const corrections = new Corrections(id, onSaved);
  const matching = h("p", { class: "matching" });
  const progress = h("p", { class: "reviewing", role: "status" });
  const problems = h("div");

  const grid = new Grid("Rows", {
    card: (element, index) => fillCard(element, rows.at(index), classes),
    onSelect: select,
    onRest: rest,
    onDrop: (element) => element.querySelectorAll("img").forEach((image) => pictures.drop(image)),
    signal,
  });
  const detail = new Detail(pictures, classes, { correct, accept, undo, retry });
  const filters = new Filters(query, card.look_alikes ?? [], summary.labels, open);
  const histogram = new Histogram(summary, verdict(summary).threshold, lookBelow);

  main.classList.add("wide");
  add(
    main,
    jobHead(job, "look"),
    problems,
    h(
      "div",
      { class: "look" },
      h(
        "details",
        { class: "choose", open: matchMedia(WIDE).matches },
        h("summary", {}, "Filter and histogram"),
        histogram.element,
        filters.element,
      ),
      h("div", { class: "sight" }, h("div", { class: "bar-line" }, matching, progress), grid.element),
      detail.element,
    ),
  );
  grid.element.addEventListener("keydown", press);
  addEventListener(
    "beforeunload",
    (event) => {
      if (corrections.pending + corrections.failed > 0) event.preventDefault();
    },
    { signal },
  );
  await open(query, Number(given.get("at") ?? 0));
  grid.element.focus({ preventScroll: true });

  /** Show the rows of another query. */
  async function open(wanted, at = 0) {
    asked.abort();
    asked = new AbortController();
    const mine = asked;
    fill(problems);
    await corrections.settled();
    query = wanted;
    const next = new Rows(id, query, (act) => corrections.inTurn(act), AbortSignal.any([signal, mine.signal]));
    const begin = Math.max(0, at);
    if (!(await attempt(() => next.load(0, 0)))) return;
    if (begin > 0 && !(await attempt(() => next.load(begin, begin)))) return;
    if (mine.signal.aborted) return;
    rows = next;
    grid.reset(rows.total, begin);
    if (rows.total === 0) detail.show(undefined);
    showCounts();
    rememberAddress();
  }

  function showCounts() {
    const all = job.counts.total;
    fill(
      matching,
      rows.total === all ? plural(all, "row") : `${count(rows.total)} of ${plural(all, "row")}`,
      !rows.complete && [
        " so far ",
        h("button", { type: "button", class: "quiet", onclick: () => open(query) }, "Show those that have come since"),
      ],
      rows.total === 0 && rows.complete && " — no row matches.",
    );
    const reviewed = summary.reviewed + corrections.reviewed;
    const saving =
      corrections.failed > 0
        ? `; ${plural(corrections.failed, "correction")} not saved`
        : corrections.pending > 0
          ? "; saving"
          : "; saved";
    progress.textContent = `${count(reviewed)} reviewed, ${count(summary.changed + corrections.changed)} changed${reviewed > 0 ? saving : ""}`;
  }

  function select(index) {
    detail.show(rows.at(index));
    rememberAddress();
    attempt(async () => {
      await rows.load(index, index + AHEAD);
      if (grid.selected === index) detail.show(rows.at(index));
    });
  }

  async function rest(from, to, cards) {
    const mine = rows;
    if (!(await attempt(() => mine.load(from, to))) || mine !== rows) return;
    for (const [index, element] of cards) {
      if (element.classList.contains("coming")) grid.refresh(index);
      const row = rows.at(index);
      if (row) element.querySelectorAll("img").forEach((image) => pictures.want(image, row.row, image.dataset.view));
    }
  }

  function press(event) {
    const withModifier = (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
    const character = [...event.key].length === 1 && event.key !== " ";
    let handled = true;
    if (withModifier) handled = event.key === "z" && undo();
    else if (event.key === "Enter") accept();
    else if (event.key === "Backspace") undo();
    else if (event.key === "Escape") location.hash = `#/jobs/${id}`;
    else if (character) correct(event.key);
    else handled = event.key === " " || grid.move(event.key);
    if (handled) event.preventDefault();
  }

  function correct(label) {
    const index = grid.selected;
    const row = rows?.at(index);
    if (!row) return;
    corrections.set(index, row, label);
    rows.note(index);
    const said = label === row.label ? "accepted" : `corrected to ${label}`;
    const isLast = index === rows.total - 1;
    if (isLast) grid.select(index);
    else grid.select(index + 1);
    const next = rows.at(grid.selected);
    say(`${said}. ${isLast ? "That was the last row." : next ? spoken(next) : ""}`);
  }

  function accept() {
    const row = rows?.at(grid.selected);
    if (row?.label) correct(row.label);
    else say("There is no prediction to accept. Type the character.");
  }

  function retry() {
    corrections.retry(grid.selected, rows.at(grid.selected));
    rows.note(grid.selected);
  }

  function undo() {
    const undone = corrections.undo();
    if (undone && rows.at(undone.index) === undone.row) {
      rows.note(undone.index);
      grid.select(undone.index);
    } else if (undone) {
      open(query, grid.selected); // it was in what was shown before
    }
    say(undone ? `Undone: ${spoken(undone.row)}` : "There is nothing to undo.");
    return true;
  }

  function onSaved(row, index) {
    if (signal.aborted) return;
    if (row.failed && rows.at(index) === row) rows.note(index);
    grid.refresh();
    if (rows.at(grid.selected) === row) detail.show(row);
    showCounts();
    clearTimeout(summing);
    summing = setTimeout(
      () =>
        attempt(async () => {
          if (corrections.pending > 0) return;
          summary = await json(`${jobPath(id)}/summary`, { signal });
          corrections.counted();
          histogram.update(summary);
          showCounts();
        }),
      SUMMARY_MS,
    );
  }

  function lookBelow(highest) {
    const below = new URLSearchParams({ sort: "confidence", max_confidence: highest, reviewed: "false" });
    filters.set(below);
    open(below);
    grid.element.focus();
  }

  /** Whether it went well; shows the problem if not. */
  async function attempt(act) {
    try {
      await act();
      return true;
    } catch (problem) {
      if (!isAbort(problem))
        fill(
          problems,
          problemNote(problem, h("button", { type: "button", onclick: () => open(query, grid.selected) }, "Try again")),
        );
      return false;
    }
  }

  function rememberAddress() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      const address = new URLSearchParams(query);
      const at = rows.place(grid.selected);
      if (at > 0) address.set("at", at);
      if (!signal.aborted) history.replaceState(null, "", `#/jobs/${id}/look?${address}`);
    }, ADDRESS_MS);
  }
}
