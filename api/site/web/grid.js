// A list of any length as cards on the screen: only those in sight are in the page. Knows scrolling, selection and
// arrows; what a card shows is its owner's.

import { h } from "/web/dom.js";

const LINE = 200; // pixels from one line of cards to the next; views.css has the card's own height
const NARROWEST = 150; // pixels of a card
const OVERSCAN = 2; // lines kept beyond each edge
const TALLEST = 8_000_000; // pixels: browsers cap an element's height, at 17 million or more
const REST_MS = 80;

export class Grid {
  #card;
  #onSelect;
  #onRest;
  #onDrop;
  #spacer = h("div", { role: "presentation" });
  #cards = new Map(); // index -> element
  #columns = 1;
  #top = 0; // pixels above the screen, of all lines; the scroll position where those are not too tall
  #scrolled = 0; // the scroll position when last looked at
  #resting = 0;
  total = 0;
  selected = 0;

  /**
   * @param {(element: HTMLElement, index: number) => void} card fills a card
   * @param {(index: number) => void} onSelect
   * @param {(first: number, last: number, cards: Map<number, HTMLElement>) => void} onRest told what is in sight once
   *   scrolling rests
   * @param {(element: HTMLElement) => void} onDrop told of each card that is taken out
   */
  constructor(label, { card, onSelect, onRest, onDrop, signal }) {
    this.#card = card;
    this.#onSelect = onSelect;
    this.#onRest = onRest;
    this.#onDrop = onDrop;
    this.element = h("div", { class: "grid", role: "listbox", tabindex: 0, "aria-label": label }, this.#spacer);
    this.element.addEventListener("scroll", () => this.#scroll(), { passive: true });
    this.element.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.select(Number(option.dataset.index));
    });
    const resized = new ResizeObserver(() => this.#arrange());
    resized.observe(this.element);
    signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  }

  /** Show another list of this length, with one selected. */
  reset(total, selected = 0) {
    this.#drop(() => true);
    this.total = total;
    this.selected = Math.max(0, Math.min(selected, total - 1));
    this.#top = 0;
    this.#arrange();
    if (total > 0) this.select(this.selected);
  }

  /** Fill the cards in sight again, or one of them. */
  refresh(index = null) {
    for (const [at, card] of this.#cards) if (index === null || at === index) this.#fill(card, at);
  }

  select(index) {
    const before = this.selected;
    this.selected = Math.max(0, Math.min(index, this.total - 1));
    this.#show(this.selected);
    this.refresh(before);
    this.refresh(this.selected);
    this.element.setAttribute("aria-activedescendant", `card-${this.selected}`);
    this.#onSelect(this.selected);
  }

  /** Whether the key moved the selection. */
  move(key) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / LINE)) * this.#columns;
    const steps = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.#columns,
      ArrowUp: -this.#columns,
      PageDown: page,
      PageUp: -page,
      Home: -this.total,
      End: this.total,
    };
    if (!(key in steps)) return false;
    if (this.total > 0) this.select(this.selected + steps[key]);
    return true;
  }

  get #height() {
    // of all lines
    return Math.ceil(this.total / this.#columns) * LINE;
  }

  /** Pixels of lines a pixel of the scroll bar stands for: 1 unless they are too tall. */
  get #scale() {
    const seen = this.element.clientHeight;
    const room = Math.min(this.#height, TALLEST) - seen;
    return room > 0 ? (this.#height - seen) / room : 1;
  }

  /** The same rows stay in sight, the selected one if it was. */
  #arrange() {
    const first = Math.floor(this.#top / LINE) * this.#columns;
    const wasInSight = this.#cards.has(this.selected);
    const columns = Math.max(1, Math.floor(this.element.clientWidth / NARROWEST));
    if (columns !== this.#columns) this.#top = Math.floor(first / columns) * LINE;
    this.#columns = columns;
    this.#spacer.style.height = `${Math.min(this.#height, TALLEST)}px`;
    this.#scrollTo(this.#top);
    if (wasInSight) this.#show(this.selected);
  }

  #show(index) {
    const line = Math.floor(index / this.#columns) * LINE;
    const seen = this.element.clientHeight;
    if (line < this.#top) this.#scrollTo(line);
    else if (line + LINE > this.#top + seen) this.#scrollTo(line + LINE - seen);
    else this.#draw();
  }

  #scrollTo(top) {
    this.#top = Math.max(0, Math.min(top, this.#height - this.element.clientHeight));
    this.#settle();
    this.#draw();
  }

  /** Put the scroll bar where it belongs. */
  #settle() {
    this.element.scrollTop = this.#top / this.#scale;
    this.#scrolled = this.element.scrollTop;
  }

  /** A small step moves as far as it says, whatever the scale; a long one is a jump with the scroll bar. */
  #scroll() {
    const { scrollTop, clientHeight } = this.element;
    const step = scrollTop - this.#scrolled;
    const scale = this.#scale;
    this.#scrolled = scrollTop;
    if (step === 0) return;
    if (scale > 1 && Math.abs(step) < clientHeight) {
      this.#top = Math.max(0, Math.min(this.#top + step, this.#height - clientHeight));
      const atEdge = scrollTop <= 0 || scrollTop >= TALLEST - clientHeight - 1;
      if (atEdge) this.#settle();
    } else {
      this.#top = scrollTop * scale;
    }
    this.#draw();
  }

  #draw() {
    const seen = this.element.clientHeight;
    const first = Math.max(0, Math.floor(this.#top / LINE) - OVERSCAN) * this.#columns;
    const last = Math.min(this.total, (Math.ceil((this.#top + seen) / LINE) + OVERSCAN) * this.#columns) - 1;
    this.#drop((index) => index < first || index > last);
    let next = null;
    for (let index = last; index >= first; index -= 1) {
      // so that they are in order in the page too
      const known = this.#cards.get(index);
      const card = known ?? h("div", { role: "option", class: "card", id: `card-${index}`, "data-index": index });
      this.#place(card, index);
      if (!known) {
        this.#fill(card, index);
        this.#cards.set(index, card);
        this.#spacer.insertBefore(card, next);
      }
      next = card;
    }
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      if (this.element.scrollTop !== this.#scrolled) return; // it goes on, and will be told of
      this.#settle();
      for (const [index, card] of this.#cards) this.#place(card, index);
      this.#onRest(first, last, this.#cards);
    }, REST_MS);
  }

  #place(card, index) {
    const y = Math.floor(index / this.#columns) * LINE - this.#top + this.#scrolled;
    card.style.width = `${100 / this.#columns}%`;
    card.style.transform = `translate(${100 * (index % this.#columns)}%, ${y}px)`;
  }

  #fill(card, index) {
    card.setAttribute("aria-selected", index === this.selected);
    card.setAttribute("aria-posinset", index + 1);
    card.setAttribute("aria-setsize", this.total);
    this.#card(card, index);
  }

  #drop(isOut) {
    for (const [index, card] of this.#cards) {
      if (!isOut(index)) continue;
      this.#onDrop(card);
      card.remove();
      this.#cards.delete(index);
    }
  }
}
