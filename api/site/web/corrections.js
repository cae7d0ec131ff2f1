// What a person says of rows: saved at once, undone in turn. Knows the API's corrections; nothing of how rows are
// shown.

import { jobPath, json, Problem, request } from "/web/api.js";
import { pause } from "/web/dom.js";

const ATTEMPTS = 4;

export class Corrections {
  #job;
  #onChange;
  #done = []; // { index, row, before }, to be undone from the end
  #last = Promise.resolve();
  #failed = new Set();
  pending = 0;
  /** Since the summary was last fetched: rows looked at, and those of them whose label is another. */
  reviewed = 0;
  changed = 0;

  /**
   * @param {(row: import("./rows.js").Row, index: number) => void} onChange told when a row's state of saving changes
   */
  constructor(job, onChange) {
    this.#job = job;
    this.#onChange = onChange;
  }

  get failed() {
    return this.#failed.size;
  }

  /** A person says that `row`, at `index` of what is shown, is `label`. */
  set(index, row, label) {
    this.#done.push({ index, row, before: row.corrected_at === null ? null : row.final_label });
    this.#change(index, row, label);
  }

  /** Take back the last. Returns what it was, or null where there is nothing. */
  undo() {
    const last = this.#done.pop();
    if (!last) return null;
    this.#change(last.index, last.row, last.before);
    return last;
  }

  /** Save again what could not be. */
  retry(index, row) {
    this.#change(index, row, row.corrected_at === null ? null : row.final_label);
  }

  /** The summary has them now. */
  counted() {
    this.reviewed = this.changed = 0;
  }

  /** When all that was said is saved, or has failed. */
  async settled() {
    await this.#last;
  }

  /** Do something when all that was said before is saved, and before what is said from now on is. */
  inTurn(act) {
    const done = this.#last.then(act);
    this.#last = done.catch(() => {}); // told to whoever asked
    return done;
  }

  #change(index, row, label) {
    this.#count(row, -1);
    row.final_label = label ?? row.label;
    row.corrected_at = label === null ? null : new Date().toISOString();
    row.corrected_by = null;
    this.#count(row, +1);
    this.#failed.delete(row.row);
    Object.assign(row, { saving: true, failed: null });
    this.pending += 1;
    this.inTurn(async () => {
      await this.#save(row, label);
      this.pending -= 1;
      row.saving = false;
      this.#onChange(row, index);
    });
    this.#onChange(row, index);
  }

  #count(row, sign) {
    if (row.corrected_at === null) return;
    this.reviewed += sign;
    if (row.final_label !== row.label) this.changed += sign;
  }

  async #save(row, label) {
    const path = `${jobPath(this.#job)}/items/${row.row}/correction`;
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (label === null) {
          await request(path, { method: "DELETE", keepalive: true });
        } else {
          const { corrected_by: by, corrected_at: at } = await json(path, {
            method: "PUT",
            keepalive: true,
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ label }),
          });
          if (row.corrected_at !== null) Object.assign(row, { corrected_by: by, corrected_at: at });
        }
        return;
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (problem.retryAfterSeconds === null || attempt === ATTEMPTS) {
          row.failed = problem;
          this.#failed.add(row.row);
          return;
        }
        await pause(1000 * problem.retryAfterSeconds);
      }
    }
  }
}
