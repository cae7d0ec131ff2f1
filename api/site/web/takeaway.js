// Take away: the rows as files, and the same job as commands. Knows formats; the service makes them.

import { isAbort, jobPath, json, key, request } from "/web/api.js";
import { add, fill, h, problemNote, say } from "/web/dom.js";
import { jobHead } from "/web/job.js";
import { hasEnded, titleOf } from "/web/words.js";

const FORMATS = [
  ["csv", "CSV", "For spreadsheets, Excel among them: it begins with the mark by which Excel knows UTF-8."],
  ["ndjson", "NDJSON", "A JSON object a line, with all runners-up."],
  ["parquet", "Parquet", "For pandas, DuckDB or Spark: columns with their types."],
];

export async function show(main, { id, signal }) {
  const job = await json(jobPath(id), { signal });
  const problems = h("div");
  const given = (format, corrected) =>
    h(
      "button",
      {
        type: "button",
        class: format === "csv" && corrected && "primary",
        onclick: (event) => save(job, format, corrected, event.currentTarget, problems),
      },
      corrected ? "As corrected" : "As predicted",
    );
  add(
    main,
    jobHead(job, "take"),
    !hasEnded(job) && h("p", { class: "warning" }, "The job still runs. What is taken now has the rows that are done."),
    problems,
    h(
      "ul",
      { class: "formats" },
      FORMATS.map(([format, name, words]) =>
        h(
          "li",
          {},
          h("div", {}, h("h2", {}, name), h("p", { class: "note" }, words)),
          h("p", { class: "actions", role: "group", "aria-label": name }, given(format, true), given(format, false)),
        ),
      ),
      h(
        "li",
        {},
        h(
          "div",
          {},
          h("h2", {}, "Zip of the scans"),
          h(
            "p",
            { class: "note" },
            "Sorted into a folder for each label, as corrected: to train on, or to leaf through.",
          ),
        ),
        h("p", { class: "actions", role: "group", "aria-label": "Zip of the scans" }, given("zip", true)),
      ),
    ),
    h(
      "p",
      { class: "note" },
      "As corrected adds the columns final_label, corrected_by and corrected_at; the prediction stays beside them.",
    ),
    snippet("With curl", curlOf(job)),
    snippet("With Python", pythonOf(job)),
  );
}

/** With fetch, for a link could not send the key. The browser keeps what is large on disk. */
async function save(job, format, corrected, button, problems) {
  const query = new URLSearchParams({
    format,
    ...(corrected && { corrected: "true" }),
    ...(format === "csv" && { bom: "true" }),
    ...(!hasEnded(job) && { partial: "true" }),
  });
  const words = button.textContent;
  button.disabled = true;
  button.textContent = "Preparing …";
  fill(problems);
  try {
    const answer = await request(`${jobPath(job.id)}/results?${query}`);
    const url = URL.createObjectURL(await answer.blob());
    const name = `${titleOf(job)
      .replace(/\.zip$/i, "")
      .replace(/[^\p{L}\p{N}._ -]/gu, "_")}${corrected ? "-corrected" : ""}.${format}`;
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the download has begun by then
    say(`${name} is downloaded.`);
  } catch (problem) {
    if (!isAbort(problem)) fill(problems, problemNote(problem));
  } finally {
    button.disabled = false;
    button.textContent = words;
  }
}

function snippet(title, code) {
  const text = h("pre", { class: "code", tabindex: 0, "aria-label": title }, code);
  const copy = async () => {
    getSelection().selectAllChildren(text);
    if (!navigator.clipboard) {
      // only where the page came over HTTPS or from this machine
      say("It is selected; copy it with the keyboard.");
      return;
    }
    await navigator.clipboard.writeText(code);
    button.textContent = "Copied";
    say("Copied.");
  };
  const button = h("button", { type: "button", onclick: copy }, "Copy");
  return h("section", { class: "snippet" }, h("div", { class: "actions" }, h("h2", {}, title), button), text);
}

const DEFAULTS = { top_k: 3, charset: "all", invert: "auto", filename_encoding: "cp437" };

/** The options that differ from the service's own. */
function chosen({ options }) {
  return Object.entries(options ?? {}).filter(
    ([name, value]) => name !== "name" && value !== null && String(value) !== String(DEFAULTS[name] ?? ""),
  );
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(job) {
  const header = key.get() ? ` -H "Authorization: Bearer $GLYPHQ_KEY"` : "";
  const query = new URLSearchParams(chosen(job).flatMap(([name, value]) => [value].flat().map((each) => [name, each])));
  return [
    "# the rows of this job, with its corrections",
    `curl -f${header} ${quoted(`${location.origin}${jobPath(job.id)}/results?format=csv&corrected=true`)} -o results.csv`,
    "# another job like it",
    `curl -f${header} --data-binary @scans.zip ${quoted(`${location.origin}/v1/jobs${query.size > 0 ? `?${query}` : ""}`)}`,
  ].join("\n");
}

function pythonOf(job) {
  const options = chosen(job)
    .map(([name, value]) => `, ${name}=${JSON.stringify(value)}`)
    .join("");
  return [
    ...(key.get() ? ["# the key is taken from GLYPHQ_KEY"] : []),
    "from glyphq import Client",
    "",
    `with Client("${location.origin}") as client:`,
    "    # the rows of this job, with its corrections",
    `    client.download("${job.id}", "results.csv", corrected=True)`,
    "    # another job like it",
    `    job = client.submit("scans.zip"${options})`,
    "    client.wait(job)",
    '    client.download(job, "others.csv")',
  ].join("\n");
}
