// One row as a card of the grid: scan, what the network saw, label, confidence, runners-up. Knows rows; nothing of
// scrolling.

import { bothCases } from "/web/characters.js";
import { fill, h } from "/web/dom.js";
import { sureness } from "/web/words.js";

const SAID = { blank: "blank", rejected: "not readable", cancelled: "cancelled" };

/** Fill a card of the grid. @param {import("./rows.js").Row | undefined} row undefined where it has not come yet */
export function fillCard(card, row, classes) {
  card.classList.toggle("coming", !row);
  if (!row) {
    card.setAttribute("aria-label", "being loaded");
    fill(card);
    return;
  }
  card.setAttribute("aria-label", spoken(row));
  card.classList.toggle("reviewed", row.corrected_at !== null);
  card.classList.toggle("failed", Boolean(row.failed));
  fill(
    card,
    h(
      "div",
      { class: "card-box" },
      keptPictures(card, row),
      h(
        "div",
        { class: "card-label" },
        labelOf(row, classes),
        row.confidence !== null && h("span", { class: "number" }, sureness(row.confidence)),
      ),
      h(
        "div",
        { class: "card-others code" },
        row.top
          .slice(1, 4)
          .filter(({ confidence }) => confidence >= 0.005)
          .map(({ label, confidence }) =>
            h("span", {}, `${label} `, h("small", {}, `${Math.round(100 * confidence)}`)),
          ),
      ),
      h("div", { class: "card-name", title: row.filename }, row.filename),
    ),
  );
}

/** Kept where the card is filled again: a picture that is made anew flickers. */
function keptPictures(card, row) {
  const kept = card.querySelector(".pictures");
  if (kept?.dataset.row === String(row.row)) return kept;
  return h(
    "div",
    { class: "pictures", "data-row": row.row },
    h("img", { class: "scan", alt: "", draggable: "false", "data-view": "original" }),
    row.status === "classified" && h("img", { class: "seen", alt: "", draggable: "false", "data-view": "model" }),
  );
}

function labelOf(row, classes) {
  const both = bothCases(row.final_label, classes);
  if (row.final_label === null) return h("span", { class: "status-word" }, SAID[row.status] ?? row.status);
  const changed = row.corrected_at !== null && row.final_label !== row.label;
  return [
    changed && row.label !== null && h("s", { class: "code" }, row.label),
    h("span", { class: "label" }, row.final_label),
    both && !changed && h("span", { class: "case" }, `or ${row.final_label.toLowerCase()}`),
    row.corrected_at !== null && h("span", { class: "tick" }, row.failed ? "not saved" : row.saving ? "…" : "✓"),
  ];
}

/** The row in words, for screen readers. */
export function spoken(row) {
  const read =
    row.label === null ? (SAID[row.status] ?? row.status) : `read as ${row.label}, ${sureness(row.confidence)}`;
  if (row.corrected_at === null) return `${row.filename}: ${read}`;
  const person = row.final_label === row.label ? "accepted" : `corrected to ${row.final_label}`;
  return `${row.filename}: ${read}; ${person}${row.failed ? ", not saved" : ""}`;
}
