// The frame of the page: which view an address shows, and the key. Knows every view; none of what they do.
// A view is `show(main, { id, query, signal })`: it fills `main`, and ends what it began when the signal aborts.

import { isAbort, key, Problem, refusals, takeKey } from "/web/api.js";
import { fill, h, problemNote } from "/web/dom.js";
import { show as handIn } from "/web/handin.js";
import { show as job } from "/web/job.js";
import { show as jobs } from "/web/jobs.js";
import { show as look } from "/web/look.js";
import { show as model } from "/web/model.js";
import { show as takeAway } from "/web/takeaway.js";

const VIEWS = [
  [/^\/?$/, handIn],
  [/^\/jobs$/, jobs],
  [/^\/jobs\/([^/]+)$/, job],
  [/^\/jobs\/([^/]+)\/look$/, look],
  [/^\/jobs\/([^/]+)\/take$/, takeAway],
  [/^\/model$/, model],
];

const main = document.getElementById("main");
let current = new AbortController();

async function route() {
  const [path, query] = location.hash.slice(1).split("?", 2);
  const found = VIEWS.map(([pattern, show]) => [path.match(pattern), show]).find(([match]) => match);
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const own = fill(main, h("div", { class: "view" })).firstChild;
  markPage(path);
  try {
    if (!found)
      throw new Problem(404, {
        title: "There is no such page",
        detail: "The address may be misspelt. Begin at “Hand in”.",
      });
    await found[1](own, { id: found[0][1], query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted || isAbort(error)) return;
    if (!(error instanceof Problem)) throw error;
    own.append(
      h("h1", {}, error.title),
      problemNote(error, h("button", { type: "button", onclick: route }, "Try again")),
    );
  }
}

function markPage(path) {
  for (const link of document.querySelectorAll(".top nav a")) {
    const page = link.getAttribute("href").slice(1);
    const here = page === "/" ? path === "/" || path === "" : path.startsWith(page);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("forget").hidden = !key.get();
}

/** A view sets its own heading; the title of the window follows it. */
new MutationObserver(() => {
  const heading = main.querySelector("h1")?.textContent;
  document.title = heading ? `${heading} · glyphq` : "glyphq";
}).observe(main, { childList: true, subtree: true, characterData: true });

const ask = document.getElementById("ask");

refusals.addEventListener("refused", ({ detail: problem }) => {
  document.getElementById("ask-why").textContent = key.get()
    ? problem.detail
    : "This service asks for a key before it shows anything.";
  if (!ask.open) ask.showModal();
});

ask.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("ask-key");
  key.keep(field.value.trim());
  field.value = "";
  ask.close();
  route();
});

document.getElementById("forget").addEventListener("click", () => {
  key.forget();
  history.replaceState(null, "", "#/");
  route();
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view it is
  main.focus();
});

addEventListener("hashchange", ({ newURL }) => {
  takeKey(new URL(newURL).hash);
  main.focus({ preventScroll: true }); // a view may then take it further
  scrollTo(0, 0);
  route();
});
takeKey(location.hash);
route();
