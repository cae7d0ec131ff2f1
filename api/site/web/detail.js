// The selected row, large: its pictures, runners-up to choose from, what a person said. Knows one row at a time.

import { bothCases } from "/web/characters.js";
import { fill, h } from "/web/dom.js";
import { moment, sureness } from "/web/words.js";

export class Detail {
  #pictures;
  #classes;
  #act;
  #row = null;
  #scan = h("img", { class: "scan", alt: "The scan" });
  #seen = h("img", { class: "seen", alt: "The 28 by 28 picture that the network saw" });
  #facts = h("div", { class: "detail-facts" });
  #other = h("input", {
    id: "other",
    maxlength: 8,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    class: "code",
  });

  /** @param {{correct: (label: string) => void, accept: () => void, undo: () => void, retry: () => void}} act */
  constructor(pictures, classes, act) {
    this.#pictures = pictures;
    this.#classes = classes;
    this.#act = act;
    const caption = h("figcaption", {}, "scan");
    this.#scan.addEventListener("load", () => fill(caption, "scan"));
    this.#scan.addEventListener("error", () => fill(caption, "scan: not a picture that browsers show"));
    const say = (event) => {
      event.preventDefault();
      if (this.#other.value) act.correct(this.#other.value);
      this.#other.value = "";
    };
    this.element = h(
      "section",
      { class: "detail", "aria-label": "The selected row" },
      h(
        "div",
        { class: "large" },
        h("figure", {}, this.#scan, caption),
        h("figure", {}, this.#seen, h("figcaption", {}, "what the network saw")),
      ),
      this.#facts,
      h(
        "form",
        { class: "other", onsubmit: say },
        h("label", { for: "other" }, "It is"),
        this.#other,
        h("button", { type: "submit" }, "Correct"),
        h("button", { type: "button", onclick: act.undo }, "Undo"),
      ),
      h(
        "p",
        { class: "note keys" },
        key("any character"),
        " corrects, ",
        key("Enter"),
        " accepts, both move on; ",
        key("← ↑ ↓ →"),
        " move, ",
        key("⌫"),
        " or ",
        key("Ctrl Z"),
        " undoes, ",
        key("Esc"),
        " leaves.",
      ),
    );
  }

  /** @param {import("./rows.js").Row | undefined} row */
  show(row) {
    const same = this.#row === row;
    this.#row = row;
    this.element.classList.toggle("empty", !row);
    if (!row) {
      fill(this.#facts, h("p", { class: "note" }, "No row is selected."));
      return;
    }
    if (!same) {
      this.#pictures.want(this.#scan, row.row, "original");
      this.#seen.parentElement.hidden = row.status !== "classified";
      if (row.status === "classified") this.#pictures.want(this.#seen, row.row, "model");
    }
    fill(this.#facts, this.#name(row), this.#reading(row), this.#choices(row), this.#person(row));
  }

  #name(row) {
    return h(
      "p",
      { class: "detail-name" },
      h("span", {}, row.filename),
      h("span", { class: "note" }, `row ${row.row}`),
    );
  }

  #reading(row) {
    const both = bothCases(row.label, this.#classes);
    return [
      row.detail && h("p", { class: "warning" }, row.detail),
      row.status === "blank" && h("p", {}, "There is no ink on it."),
      row.status === "cancelled" && h("p", {}, "The job was cancelled before this row."),
      both && h("p", { class: "note" }, `${row.label} means ${both}: the network does not tell the cases apart.`),
    ];
  }

  #choices(row) {
    return h(
      "div",
      { class: "choices", role: "group", "aria-label": "What the network thinks" },
      row.top.map(({ label, confidence }, place) => {
        const bar = h("span", { class: "bar", "aria-hidden": "true" });
        bar.style.width = `${100 * confidence}%`;
        const choose = () => (place === 0 ? this.#act.accept() : this.#act.correct(label));
        return h(
          "button",
          {
            type: "button",
            onclick: choose,
            "aria-pressed": row.corrected_at !== null && row.final_label === label ? "true" : "false",
          },
          key(place === 0 ? "↵" : pressed(label)),
          h("span", { class: "label" }, label),
          h("span", { class: "track" }, bar),
          h("span", { class: "number" }, sureness(confidence)),
        );
      }),
    );
  }

  #person(row) {
    if (row.failed) {
      return h(
        "p",
        { class: "bad" },
        `Not saved: ${row.failed.detail} `,
        h("button", { type: "button", onclick: this.#act.retry }, "Try again"),
      );
    }
    if (row.corrected_at === null) return null;
    const said = row.final_label === row.label ? "Accepted" : `Corrected to ${row.final_label}`;
    return h(
      "p",
      { class: "good" },
      row.saving
        ? `${said}; being saved`
        : `${said}, ${moment(row.corrected_at)}${row.corrected_by ? `, by ${row.corrected_by}` : ""}`,
    );
  }
}

const key = (words) => h("kbd", {}, words);

/** What is pressed for a label: a capital needs Shift, and without it another label is given. */
const pressed = (label) => (/^[A-Z]$/.test(label) ? `⇧${label}` : label);
