// The model: what it was measured to know, and what it cannot. Knows the card; a model of somebody's own may have less
// on it.

import { mergedCases, modelCard } from "/web/characters.js";
import { add, h, svg } from "/web/dom.js";
import { count, percent } from "/web/words.js";

const TEST_SET = "emnist-balanced-test";
const CELL = 10;

export async function show(main, { signal }) {
  const card = await modelCard();
  if (signal.aborted) return;
  const measured = card.measured ?? {};
  const test = measured[TEST_SET];
  add(
    main,
    h("h1", {}, "The model"),
    h(
      "p",
      { class: "lead" },
      `A convolutional network${card.parameters ? ` of ${count(card.parameters)} parameters` : ""} that answers with one of ${card.classes.length} characters.`,
    ),
    test && headline(test),
    cannotKnow(card),
    Object.keys(measured).length > 0 && accuracyTable(measured),
    test && confidenceTable(test),
    test && confusions(test, card.classes),
    origin(card),
  );
}

function headline(test) {
  const fact = (value, words) => h("div", {}, h("dd", {}, value), h("dt", {}, words));
  return h(
    "dl",
    { class: "headline" },
    fact(percent(test.accuracy.value), "of the test set read right"),
    fact(percent(test.top_3.value), "right among the first three"),
    fact(percent(test.merged.value), "right, look-alikes taken as one"),
    fact(percent(test.charsets.digits.value), "of digits, as digits"),
  );
}

function cannotKnow({ classes, look_alikes: lookAlikes = [] }) {
  const merged = mergedCases(classes);
  return h(
    "section",
    { class: "cannot", "aria-labelledby": "cannot" },
    h("h2", { id: "cannot" }, "What it cannot know"),
    h(
      "ul",
      {},
      merged.length > 0 &&
        h(
          "li",
          {},
          "The case of ",
          h("span", { class: "code" }, merged.join(" ")),
          `: one class stands for both. The label ${merged[0]} means ${merged[0]} or ${merged[0].toLowerCase()}.`,
        ),
      lookAlikes.length > 0 &&
        h(
          "li",
          {},
          "What a single character leaves open: ",
          lookAlikes.map((group, place) => [place > 0 && ", ", h("span", { class: "code" }, [...group].join(" "))]),
          ". Where only digits can occur, say so with the option “Characters”; else look at them side by side.",
        ),
      h(
        "li",
        {},
        "Anything else: accents, punctuation, other alphabets, two characters on one scan. It answers with one of its classes all the same, most often with a low confidence.",
      ),
      h("li", {}, "What is usual in your scans. It expects each of the 62 letters and digits as often."),
    ),
  );
}

function accuracyTable(measured) {
  const cell = (share) =>
    h(
      "td",
      {},
      percent(share.value, 2),
      h("small", {}, ` ${(100 * share.interval_95[0]).toFixed(1)}–${(100 * share.interval_95[1]).toFixed(1)}`),
    );
  return table(
    "Measured",
    "Each with its 95 % interval. None of these scans was trained on; the last two sets are of other writers, with other pens.",
    ["test set", "scans", "right", "among three", "look-alikes as one"],
    Object.entries(measured).map(([name, set]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name),
        h("td", {}, count(set.scans)),
        cell(set.accuracy),
        cell(set.top_3),
        cell(set.merged),
      ),
    ),
  );
}

function confidenceTable(test) {
  return table(
    "What a confidence means",
    "Of the test set: rows with at least this confidence, and how many of them are wrong.",
    ["confidence", "rows kept", "wrong", "expected"],
    test.thresholds.map(({ confidence, accepted, errors_among_accepted: errors, errors_expected: expected }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, confidence.toFixed(2)),
        h("td", {}, percent(accepted)),
        h("td", {}, percent(errors.value, 2)),
        h("td", {}, percent(expected, 2)),
      ),
    ),
  );
}

function table(title, words, heads, rows) {
  return h(
    "section",
    { class: "table" },
    h("h2", {}, title),
    h("p", { class: "note" }, words),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((head) => h("th", { scope: "col" }, head)),
          ),
        ),
        h("tbody", {}, rows),
      ),
    ),
  );
}

function confusions(test, classes) {
  const pairs = test.confusions.map(({ truth, predicted, scans }) =>
    h(
      "li",
      {},
      h("span", { class: "code" }, truth),
      " as ",
      h("span", { class: "code" }, predicted),
      h("span", { class: "number" }, count(scans)),
    ),
  );
  return h(
    "section",
    { "aria-labelledby": "confusions" },
    h("h2", { id: "confusions" }, "What is taken for what"),
    h(
      "div",
      { class: "confusions" },
      h(
        "figure",
        {},
        matrix(test.matrix, [...classes]),
        h(
          "figcaption",
          { class: "note" },
          "Each row is a character as it was written, each column what it was read as; the stronger the colour, the more often.",
        ),
      ),
      h("div", {}, h("h3", {}, "Most often"), h("ol", { class: "pairs" }, pairs)),
    ),
  );
}

/** @param {Record<string, Record<string, number>>} counts truth -> what was answered -> scans */
function matrix(counts, labels) {
  const side = (labels.length + 1.5) * CELL;
  const at = (label) => (labels.indexOf(label) + 1.5) * CELL;
  const names = labels.flatMap((label) => [
    svg("text", { x: at(label) + CELL / 2, y: CELL }, label),
    svg("text", { x: CELL / 2, y: at(label) + CELL * 0.8 }, label),
  ]);
  const cells = Object.entries(counts).flatMap(([truth, answers]) => {
    const all = Object.values(answers).reduce((sum, scans) => sum + scans, 0);
    return Object.entries(answers).map(([answer, scans]) =>
      svg(
        "rect",
        {
          x: at(answer),
          y: at(truth),
          width: CELL - 0.6,
          height: CELL - 0.6,
          class: truth === answer ? "right" : "wrong",
          "fill-opacity": Math.max(0.12, Math.sqrt(scans / all)).toFixed(2),
        },
        svg("title", {}, `${truth} read as ${answer}: ${count(scans)} of ${count(all)}`),
      ),
    );
  });
  return svg(
    "svg",
    {
      viewBox: `0 0 ${side} ${side}`,
      class: "matrix",
      role: "img",
      "aria-label": "Confusion matrix; the list beside it has the most frequent confusions",
    },
    names,
    cells,
  );
}

function origin(card) {
  const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const { data = {} } = card;
  return h(
    "section",
    { "aria-labelledby": "origin" },
    h("h2", { id: "origin" }, "Where it comes from"),
    h(
      "dl",
      { class: "plain" },
      fact("Name", card.name),
      fact("Classes", h("span", { class: "code" }, card.classes)),
      fact(
        "Trained on",
        data.trained_on &&
          `${count(data.trained_on)} images of ${data.split}${data.fonts ? `, and ${count(data.fonts)} fonts` : ""}`,
      ),
      fact("Data", data.source),
      fact("Weights", card.digest && h("span", { class: "code" }, `SHA-256 ${card.digest}`)),
    ),
  );
}
