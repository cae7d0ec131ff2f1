// Pictures of rows, fetched for what is on the screen. Knows the API's images; nothing of where they are shown.
// A few at a time, so that a correction never waits behind them; those that scrolled away are given up.

import { isAbort, jobPath, request } from "/web/api.js";
import { pause } from "/web/dom.js";

const AT_ONCE = 4; // of the six connections that a browser opens to a host
const KEPT = 600;
const LOADED_MS = 2000; // by then an image has read what it was given last

export class Pictures {
  #job;
  #signal;
  #urls = new Map(); // of a picture, the latest used last; null where there is none
  #wanted = new Map(); // of a picture: { images, stop }, in the order they were asked for
  #busy = 0;

  constructor(job, signal) {
    this.#job = job;
    this.#signal = signal;
    signal.addEventListener(
      "abort",
      () => {
        for (const { stop } of this.#wanted.values()) stop.abort();
        setTimeout(() => this.#urls.forEach((url) => url && URL.revokeObjectURL(url)), LOADED_MS);
      },
      { once: true },
    );
  }

  /** Show a picture in an <img>, now or when it has come. @param {"original" | "model"} view */
  want(image, row, view) {
    const name = `${row}/image?view=${view}`;
    if (image.dataset.picture === name) return;
    this.drop(image);
    image.dataset.picture = name;
    if (this.#urls.has(name)) {
      this.#show(image, this.#urls.get(name));
      return;
    }
    const wanted = this.#wanted.get(name) ?? { images: new Set(), stop: new AbortController(), begun: false };
    wanted.images.add(image);
    this.#wanted.set(name, wanted);
    this.#next();
  }

  /** It is not shown any more. */
  drop(image) {
    const wanted = this.#wanted.get(image.dataset.picture);
    wanted?.images.delete(image);
    if (wanted?.images.size === 0) {
      this.#wanted.delete(image.dataset.picture);
      wanted.stop.abort();
    }
    delete image.dataset.picture;
  }

  #next() {
    for (const [name, wanted] of this.#wanted) {
      if (this.#busy >= AT_ONCE) return;
      if (!wanted.begun) this.#fetch(name, wanted);
    }
  }

  async #fetch(name, wanted) {
    wanted.begun = true;
    this.#busy += 1;
    try {
      const answer = await request(`${jobPath(this.#job)}/items/${name}`, { signal: wanted.stop.signal });
      this.#keep(name, URL.createObjectURL(await answer.blob()));
    } catch (problem) {
      if (problem.retryAfterSeconds) {
        await pause(1000 * problem.retryAfterSeconds, wanted.stop.signal);
        wanted.begun = false;
      } else if (!isAbort(problem)) {
        this.#keep(name, null);
      }
    } finally {
      this.#busy -= 1;
      if (!this.#signal.aborted) this.#next();
    }
  }

  #keep(name, url) {
    this.#urls.set(name, url);
    for (const image of this.#wanted.get(name)?.images ?? []) this.#show(image, url);
    this.#wanted.delete(name);
    for (const [oldest, old] of this.#urls) {
      if (this.#urls.size <= KEPT) break;
      this.#urls.delete(oldest);
      if (old) URL.revokeObjectURL(old);
    }
  }

  #show(image, url) {
    image.classList.toggle("missing", url === null);
    image.onerror = () => this.#show(image, null); // a TIFF, or no picture at all
    if (url) image.src = url;
    else image.removeAttribute("src");
  }
}
