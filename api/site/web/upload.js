// Sends one job's files and says how far they are. Knows XMLHttpRequest, which alone tells of an upload's progress.

import { headers, Problem } from "/web/api.js";

const RATE_OVER_MS = 3000;

/** Of an upload: sent again with the same one, it is the same job. `crypto.randomUUID` is for secure contexts only. */
export function newIdempotencyKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {{scans: import("./files.js").Scan[], zip: boolean}} job
 * @param {URLSearchParams} options
 * @param {(progress: {sent: number, total: number, rate: number | null}) => void} onProgress rate in bytes a second
 * @param {AbortSignal} signal
 * @returns {Promise<object>} the job. Raises Problem, or an AbortError
 */
export function upload(job, options, idempotencyKey, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", `/v1/jobs?${options}`);
    for (const [name, value] of Object.entries(headers({ "Idempotency-Key": idempotencyKey })))
      sending.setRequestHeader(name, value);
    const rate = rateOver(RATE_OVER_MS);
    sending.upload.onprogress = ({ loaded, total }) => onProgress({ sent: loaded, total, rate: rate(loaded) });
    sending.onload = () => {
      if (sending.status < 300) resolve(JSON.parse(sending.responseText));
      else reject(Problem.from(sending.status, sending.responseText, sending.getResponseHeader("Retry-After")));
    };
    sending.onerror = () =>
      reject(
        new Problem(0, {
          title: "The upload was interrupted",
          detail:
            "The connection ended before the service had answered. Try again: what is sent twice is one job. If it ends each time, the upload may be larger than the service takes; split it.",
        }),
      );
    sending.onabort = () => reject(new DOMException("Aborted", "AbortError"));
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    if (job.zip) {
      sending.setRequestHeader("Content-Type", "application/zip");
      sending.send(job.scans[0].file);
    } else {
      const form = new FormData();
      for (const { file, name } of job.scans) form.append("file", file, name);
      sending.send(form);
    }
  });
}

/** Bytes a second over the last moments; null until there are two. */
function rateOver(milliseconds) {
  const seen = [];
  return (bytes) => {
    const now = performance.now();
    seen.push([now, bytes]);
    while (seen.length > 2 && now - seen[0][0] > milliseconds) seen.shift();
    const [[since, before]] = seen;
    return now > since ? (1000 * (bytes - before)) / (now - since) : null;
  };
}
