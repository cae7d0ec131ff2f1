// A histogram of confidences with a threshold to drag. Knows the summary's bins; nothing of rows.

import { above, below } from "/web/confidence.js";
import { fill, h, svg } from "/web/dom.js";
import { count, percent, plural } from "/web/words.js";

const BARS = 50;
const HEIGHT = 60;

/**
 * @param {(highest: string) => void} onBelow asked to show the rows up to this confidence that nobody has looked at
 */
export class Histogram {
  #summary;
  #bars = svg("svg", { viewBox: `0 0 ${BARS * 4} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  #slider;
  #words = h("p", { class: "threshold-words", id: "threshold-words" });
  #below;

  constructor(summary, threshold, onBelow) {
    this.#slider = h("input", {
      type: "range",
      id: "threshold",
      min: 0,
      max: 1 - summary.step,
      step: summary.step,
      value: threshold,
      "aria-describedby": "threshold-words",
    });
    this.#slider.addEventListener("input", () => this.#show());
    this.#below = h("button", { type: "button", onclick: () => onBelow(below(this.#slider.valueAsNumber)) });
    this.#bars.addEventListener("pointerdown", (event) => this.#drag(event));
    this.element = h(
      "section",
      { class: "histogram", "aria-label": "Histogram of confidences" },
      h("label", { for: "threshold" }, "Threshold"),
      h("div", { class: "bars-box" }, this.#bars, this.#slider),
      this.#words,
      this.#below,
    );
    this.update(summary);
  }

  update(summary) {
    this.#summary = summary;
    this.#show();
  }

  #drag(event) {
    const set = ({ clientX }) => {
      const { left, width } = this.#bars.getBoundingClientRect();
      this.#slider.valueAsNumber = (clientX - left) / width;
      this.#show();
    };
    this.#bars.setPointerCapture(event.pointerId);
    this.#bars.addEventListener("pointermove", set);
    this.#bars.addEventListener("lostpointercapture", () => this.#bars.removeEventListener("pointermove", set), {
      once: true,
    });
    set(event);
  }

  #show() {
    const threshold = this.#slider.valueAsNumber;
    const { histogram } = this.#summary;
    const all = above(histogram, 0);
    const over = above(histogram, threshold);
    const under = all.rows - all.reviewed - (over.rows - over.reviewed);
    const wrong = over.expectedErrors;
    fill(
      this.#words,
      h("strong", {}, plural(over.rows, "row")),
      ` of ${count(all.rows)} at ${threshold.toFixed(3)} or above; `,
      h("strong", {}, wrong < 10 ? wrong.toFixed(1) : count(Math.round(wrong))),
      ` of them expected wrong${over.rows > 0 ? ` (${percent(wrong / over.rows, 2)})` : ""}.`,
    );
    this.#below.textContent = under > 0 ? `Look at the ${count(under)} below` : "None below to look at";
    this.#below.disabled = under === 0;
    this.#slider.setAttribute("aria-valuetext", `${threshold.toFixed(3)}: ${plural(over.rows, "row")} at or above`);
    this.#draw(threshold);
  }

  /** Bars of equal width; their heights are square roots, so that few rows are seen beside many. */
  #draw(threshold) {
    const rows = new Array(BARS).fill(0);
    for (const bin of this.#summary.histogram)
      rows[Math.min(BARS - 1, Math.floor(bin.confidence * BARS + 1e-9))] += bin.rows;
    const most = Math.sqrt(Math.max(1, ...rows));
    fill(
      this.#bars,
      rows.map((number, place) => {
        const height = number === 0 ? 0 : Math.max(1.5, (Math.sqrt(number) / most) * HEIGHT);
        return svg("rect", {
          x: place * 4 + 0.4,
          y: HEIGHT - height,
          width: 3.2,
          height,
          class: (place + 1) / BARS <= threshold + 1e-9 ? "under" : "over",
        });
      }),
      svg("line", { x1: threshold * BARS * 4, x2: threshold * BARS * 4, y1: 0, y2: HEIGHT, class: "threshold-line" }),
    );
  }
}
