// Rows by status, which add up to the total: as a bar, and as numbers. Knows counts alone.

import { h } from "/web/dom.js";
import { count } from "/web/words.js";

export const STATUSES = [
  ["classified", "read"],
  ["blank", "blank"],
  ["rejected", "not readable"],
  ["cancelled", "cancelled"],
  ["pending", "to come"],
];

/** One bar of the shares. */
export function countsBar(counts) {
  const present = STATUSES.filter(([status]) => counts[status] > 0);
  const said = present.map(([status, words]) => `${count(counts[status])} ${words}`).join(", ");
  return h(
    "div",
    { class: "counts", role: "img", "aria-label": said || "no rows" },
    present.map(([status]) => {
      const part = h("span", { class: status });
      part.style.flexGrow = counts[status] / counts.total;
      return part;
    }),
  );
}

/** What they are, and that they are all. */
export function countsTable(counts) {
  const shown = STATUSES.filter(([status]) => counts[status] > 0 || status === "classified");
  return h(
    "dl",
    { class: "sum" },
    shown.map(([status, words]) => h("div", { class: status }, h("dt", {}, words), h("dd", {}, count(counts[status])))),
    h("div", { class: "total" }, h("dt", {}, "rows"), h("dd", {}, count(counts.total))),
  );
}
