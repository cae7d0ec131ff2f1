// Builds elements and says things aloud. Knows the DOM; nothing of jobs or the API. Text stays text: nothing takes
// HTML.

/**
 * h("p", { class: "note", onclick: act }, "Some text", child, [more]). An attribute that is false or null is left out.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...unknown} children nodes, texts, or lists of them; null and false are left out
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Add to what is within `element`. */
export function add(element, ...children) {
  return filled(element, {}, children);
}

/** Replace what is within `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** Have a screen reader say it once it has said what it is saying. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A problem in the service's own words, with what can be done about it. */
export function problemNote(problem, ...actions) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("strong", {}, problem.title),
    h("p", {}, problem.detail),
    actions.length > 0 && h("p", { class: "actions" }, actions),
  );
}

/** Wait this long, or until the signal aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
