// The rows of one query, page by page, as far as they are looked at. Knows the results' parameters; nothing of how rows
// are shown.

import { jobPath, request } from "/web/api.js";

const PAGE = 100;
const PAGES_KEPT = 60;

export const SORTS = [
  ["confidence", "most doubtful first"],
  ["row", "as handed in"],
  ["filename", "by name"],
];

/**
 * @typedef {object} Row as the API has it, with `corrected=true`; beside that, what is being saved of it: `saving`,
 *   `failed`
 * @property {number} row
 * @property {string} filename
 * @property {string} status
 * @property {string | null} label
 * @property {number | null} confidence
 * @property {{label: string, confidence: number}[]} top
 * @property {string | null} detail
 * @property {string | null} final_label
 * @property {string | null} corrected_by
 * @property {string | null} corrected_at
 */

export class Rows {
  #path;
  #query;
  #signal;
  #inTurn;
  #pages = new Map(); // number -> Row[], the latest used last
  #coming = new Map(); // number -> promise
  #dropped = new Set(); // indices of rows that, once corrected, match no more: later pages begin as many rows earlier
  #changed = new Set(); // numbers of pages that are kept, for they hold such rows
  /** How many rows match; null before the first page. */
  total = null;
  /** Whether they are all there will be. */
  complete = true;

  /**
   * @param {URLSearchParams} query sort and filters, named as the API has them
   * @param {(act: () => Promise<void>) => Promise<void>} inTurn does something between the corrections that were made
   *   before
   *   and those to come: where a row begins to match no more, the service and this page are to count alike
   */
  constructor(job, query, inTurn, signal) {
    this.#path = `${jobPath(job)}/results`;
    this.#query = query;
    this.#inTurn = query.has("label") || query.has("reviewed") ? inTurn : (act) => act();
    this.#signal = signal;
  }

  /** @returns {Row | undefined} undefined where it has not come yet */
  at(index) {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Have the rows from `first` to `last`. Raises Problem. */
  async load(first, last) {
    const end = Math.min(last, (this.total ?? 1) - 1);
    const pages = [];
    for (let page = Math.floor(Math.max(0, first) / PAGE); page <= Math.floor(Math.max(0, end) / PAGE); page += 1)
      pages.push(this.#page(page));
    await Promise.all(pages);
  }

  /** Note that a row was corrected, or that a correction was undone. */
  note(index) {
    this.#changed.add(Math.floor(index / PAGE));
    if (this.#matches(this.at(index))) this.#dropped.delete(index);
    else this.#dropped.add(index);
  }

  /** Where the service has the row now: those before it that match no more are not counted. */
  place(index) {
    return index - [...this.#dropped].filter((each) => each < index).length;
  }

  #page(number) {
    const rows = this.#pages.get(number);
    if (rows) {
      this.#pages.delete(number);
      this.#pages.set(number, rows);
      return null;
    }
    if (!this.#coming.has(number)) {
      const offset = this.place(number * PAGE);
      this.#coming.set(
        number,
        this.#inTurn(() => this.#fetch(number, offset)).finally(() => this.#coming.delete(number)),
      );
    }
    return this.#coming.get(number);
  }

  async #fetch(number, offset) {
    const query = new URLSearchParams(this.#query);
    for (const [name, value] of Object.entries({ format: "json", corrected: true, partial: true, offset, limit: PAGE }))
      query.set(name, value);
    const answer = await request(`${this.#path}?${query}`, { signal: this.#signal });
    const { results, complete } = await answer.json();
    this.total ??= Number(answer.headers.get("Glyphq-Matching"));
    this.complete = complete;
    this.#pages.set(number, results);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= PAGES_KEPT) break;
      if (!this.#changed.has(oldest)) this.#pages.delete(oldest);
    }
  }

  #matches(row) {
    if (row.failed) return true; // for the service, nothing has changed
    const labels = this.#query.getAll("label");
    const reviewed = this.#query.get("reviewed");
    return (
      (labels.length === 0 || labels.includes(row.final_label)) &&
      (reviewed === null || (reviewed === "true") === (row.corrected_at !== null))
    );
  }
}
