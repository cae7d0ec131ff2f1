// Requests to the service with the key, and its problems (RFC 9457) as errors. Knows HTTP; nothing of pages.

const STORED = "glyphq-key";

/** The key of this browser; null where none was given. */
export const key = {
  get: () => localStorage.getItem(STORED),
  keep: (text) => localStorage.setItem(STORED, text),
  forget: () => localStorage.removeItem(STORED),
};

/** Told of each problem with the key: that one is needed, or that this one is refused. */
export const refusals = new EventTarget();

/**
 * Take the key out of `#key=KEY`, as printed when a service first starts, or `#key=KEY&at=/jobs/JOB/look`, as `glyphq
 * review` opens it, and out of the address.
 * @param {string} hash of the address that was opened, though another may have been since
 */
export function takeKey(hash) {
  const given = hash.match(/^#key=([^&]+)(?:&at=(\/.*))?$/);
  if (!given) return;
  key.keep(decodeURIComponent(given[1]).trim());
  if (location.hash === hash) history.replaceState(null, "", `/#${given[2] ?? "/"}`);
}

/** What went wrong, in the service's words. `status` is 0 where it did not answer. */
export class Problem extends Error {
  /** @param {{title?: string, detail?: string}} fields */
  constructor(status, fields, retryAfterSeconds = null) {
    super(fields.detail);
    this.status = status;
    this.title = fields.title ?? "Something went wrong";
    this.detail = fields.detail ?? `The service answered ${status}. Try again.`;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** From the body of an answer, which is a problem or, from a proxy, anything. */
  static from(status, body, retryAfter) {
    let fields = {};
    try {
      fields = JSON.parse(body);
    } catch {
      /* the status has to do */
    }
    const problem = new Problem(status, fields, Number(retryAfter) || null);
    if (status === 401) refusals.dispatchEvent(new CustomEvent("refused", { detail: problem }));
    return problem;
  }

  static unreachable() {
    return new Problem(0, {
      title: "The service does not answer",
      detail: "Check that it runs and that this machine can reach it, then try again.",
    });
  }
}

export function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

/**
 * Raises Problem for whatever is not a success; an abort stays an abort.
 * @param {{method?: string, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal, keepalive?:
 *   boolean}} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    throw error.name === "AbortError" ? error : Problem.unreachable();
  }
  if (answer.ok) return answer;
  throw Problem.from(answer.status, await answer.text().catch(() => ""), answer.headers.get("Retry-After"));
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

export const jobPath = (id) => `/v1/jobs/${encodeURIComponent(id)}`;

export const isAbort = (error) => error?.name === "AbortError";
