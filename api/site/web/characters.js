// What a label can mean. Knows the model's classes from its card; nothing of rows.

import { json } from "/web/api.js";

let card = null;

/** The model's card, fetched once. */
export function modelCard() {
  card ??= json("/v1/model").catch((problem) => {
    card = null;
    throw problem;
  });
  return card;
}

/** The capitals whose class stands for both cases: those that have no lower case of their own. */
export function mergedCases(classes) {
  return [...classes].filter((label) => label !== label.toLowerCase() && !classes.includes(label.toLowerCase()));
}

/** "C or c" for a class of both cases, else null. */
export function bothCases(label, classes) {
  return mergedCases(classes).includes(label) ? `${label} or ${label.toLowerCase()}` : null;
}
