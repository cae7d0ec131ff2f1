// Which rows to look at and in which order, as a form and as the address has them. Knows the results' parameters.

import { h } from "/web/dom.js";
import { SORTS } from "/web/rows.js";
import { count } from "/web/words.js";

const NAMES = ["sort", "label", "status", "min_confidence", "max_confidence", "filename", "reviewed"];
const TYPING_MS = 300;

const STATUSES = [
  ["", "any"],
  ["classified", "read"],
  ["blank", "blank"],
  ["rejected", "not readable"],
  ["cancelled", "cancelled"],
];
const REVIEWED = [
  ["", "all"],
  ["false", "not looked at"],
  ["true", "looked at"],
];

/** What of an address' query is about rows. */
export function queryOf(given) {
  const query = new URLSearchParams();
  for (const name of NAMES) for (const value of given.getAll(name)) query.append(name, value);
  if (!query.has("sort")) query.set("sort", "confidence");
  return query;
}

export class Filters {
  #onChange;
  #looks;
  #fields;

  /**
   * @param {string[]} lookAlikes groups of labels that look alike, such as "0O"
   * @param {{label: string, rows: number}[]} labels how many rows each label has
   * @param {(query: URLSearchParams) => void} onChange
   */
  constructor(query, lookAlikes, labels, onChange) {
    this.#onChange = onChange;
    const rowsOf = (group) =>
      labels.filter(({ label }) => group.includes(label)).reduce((sum, { rows }) => sum + rows, 0);
    this.#looks = lookAlikes.map((group) =>
      h(
        "button",
        {
          type: "button",
          class: "chip",
          value: group,
          title: `${count(rowsOf(group))} rows`,
          onclick: () => this.#toggle(group),
        },
        h("span", { class: "code" }, [...group].join(" ")),
        h("small", {}, count(rowsOf(group))),
      ),
    );
    this.#fields = {
      sort: select(SORTS),
      status: select(STATUSES),
      reviewed: select(REVIEWED),
      labels: h("input", {
        class: "code",
        autocomplete: "off",
        autocapitalize: "off",
        spellcheck: "false",
        placeholder: "all",
      }),
      min_confidence: confidence("0"),
      max_confidence: confidence("1"),
      filename: h("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: "any" }),
    };
    const {
      sort,
      status,
      reviewed,
      labels: typed,
      min_confidence: least,
      max_confidence: most,
      filename,
    } = this.#fields;
    this.element = h(
      "form",
      { class: "filters", onsubmit: (event) => event.preventDefault() },
      labelled("Order", sort),
      h(
        "div",
        { role: "group", "aria-label": "Look-alikes", class: "chips" },
        h("span", { class: "field-name", "aria-hidden": "true" }, "Look-alikes"),
        this.#looks,
      ),
      labelled("Labels", typed),
      labelled("Looked at", reviewed),
      labelled("Confidence from", least),
      labelled("to", most),
      labelled("Status", status),
      labelled("Name has", filename),
      h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, "Show all rows"),
    );
    let typing = 0;
    this.element.addEventListener("input", (event) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#changed(), event.target.tagName === "SELECT" ? 0 : TYPING_MS);
    });
    this.set(query);
  }

  /** Show what a query asks for. */
  set(query) {
    for (const [name, field] of Object.entries(this.#fields)) {
      if (name !== "labels") field.value = query.get(name) ?? "";
    }
    this.#fields.labels.value = query.getAll("label").join("");
    this.#mark();
  }

  get query() {
    const query = new URLSearchParams();
    for (const [name, field] of Object.entries(this.#fields)) {
      if (name !== "labels" && field.value !== "") query.set(name, field.value);
    }
    for (const label of new Set(this.#fields.labels.value.replaceAll(" ", ""))) query.append("label", label);
    return query;
  }

  #changed() {
    this.#mark();
    this.#onChange(this.query);
  }

  #toggle(group) {
    const { labels } = this.#fields;
    labels.value = labels.value === group ? "" : group;
    this.#changed();
  }

  #clear() {
    this.set(new URLSearchParams({ sort: this.#fields.sort.value }));
    this.#changed();
  }

  #mark() {
    for (const chip of this.#looks) chip.setAttribute("aria-pressed", this.#fields.labels.value === chip.value);
  }
}

const select = (choices) =>
  h(
    "select",
    {},
    choices.map(([value, words]) => h("option", { value }, words)),
  );
const confidence = (placeholder) =>
  h("input", { type: "number", min: 0, max: 1, step: "any", placeholder, class: "number" });
const labelled = (words, control) => h("label", {}, h("span", { class: "field-name" }, words), control);
