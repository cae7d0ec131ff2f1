// The options of a job as a form, each with a line that says what it does. Knows their names; the service knows their
// rules.

import { h } from "/web/dom.js";

const ENCODINGS = ["cp437", "utf-8", "cp866", "cp1251", "koi8-r", "cp1252", "shift_jis", "gbk", "euc-kr", "big5"];

/** @returns {{element: HTMLElement, chosen: () => URLSearchParams}} */
export function optionsForm() {
  const name = h("input", { id: "o-name", maxlength: 200, autocomplete: "off", placeholder: "as the file" });
  const charset = select("o-charset", [
    ["all", "all 47 classes"],
    ["digits", "digits"],
    ["letters", "letters"],
    ["own", "these only …"],
  ]);
  const own = h("input", {
    id: "o-own",
    "aria-label": "The characters that can occur",
    placeholder: "0123ABC",
    autocomplete: "off",
    spellcheck: "false",
    class: "code",
    hidden: true,
  });
  charset.addEventListener("change", () => {
    own.hidden = charset.value !== "own";
  });
  const rules = h("textarea", {
    id: "o-rules",
    rows: 2,
    spellcheck: "false",
    class: "code",
    placeholder: "dates/*=digits",
  });
  const topK = h("input", { id: "o-top", type: "number", min: 1, max: 10, value: 3 });
  const invert = select("o-invert", [
    ["auto", "find out for each scan"],
    ["no", "dark ink on light paper"],
    ["yes", "light ink on a dark ground"],
  ]);
  const encoding = select(
    "o-encoding",
    ENCODINGS.map((each) => [each, each]),
  );

  const chosen = () => {
    const options = new URLSearchParams();
    const give = (option, value, otherwise) => {
      if (value !== otherwise) options.append(option, value);
    };
    give("name", name.value.trim(), "");
    give("charset", charset.value === "own" ? own.value : charset.value, "all");
    for (const rule of rules.value.split("\n")) give("charset_rules", rule.trim(), "");
    give("top_k", topK.value, "3");
    give("invert", invert.value, "auto");
    give("filename_encoding", encoding.value, "cp437");
    return options;
  };

  const element = h(
    "details",
    { class: "options", open: matchMedia("(min-width: 64rem)").matches },
    h("summary", {}, "Options"),
    field("Name", "o-name", "To find the job by.", name),
    field(
      "Characters",
      "o-charset",
      "What can occur. The others are ruled out before confidences are computed.",
      charset,
      own,
    ),
    field(
      "By file name",
      "o-rules",
      "GLOB=CHARSET, one a line. The first that matches counts; “Characters” is for the rest.",
      rules,
    ),
    field("Answers a row", "o-top", "The likeliest characters, 1 to 10; each with its confidence.", topK),
    field("Ink", "o-invert", "Which is the ink, where that cannot be told from the scan.", invert),
    field("File names", "o-encoding", "The encoding of names in an old zip that are not marked as UTF-8.", encoding),
  );
  return { element, chosen };
}

function select(id, choices) {
  return h(
    "select",
    { id },
    choices.map(([value, words]) => h("option", { value }, words)),
  );
}

function field(label, id, explanation, control, ...more) {
  control.setAttribute("aria-describedby", `${id}-says`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h("div", {}, control, more, h("p", { class: "note", id: `${id}-says` }, explanation)),
  );
}
