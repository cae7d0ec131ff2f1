// Follows one job: snapshots as they come, over any number of dropped connections. Knows server-sent events.
// With fetch and not EventSource, which cannot send a key in a header.

import { isAbort, jobPath, Problem, request } from "/web/api.js";
import { pause } from "/web/dom.js";
import { hasEnded } from "/web/words.js";

const SILENCE_MS = 40_000; // the service says something at least every 15 s
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Yields { job } for each snapshot, the last when it has ended; { deleted: true }; { lost: Problem } while the
 * connection is down. Raises Problem where trying again cannot help.
 */
export async function* snapshots(id, signal) {
  let wait = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      for await (const event of stream(`${jobPath(id)}/events`, signal)) {
        wait = FIRST_PAUSE_MS;
        if (event.name === "deleted") {
          yield { deleted: true };
          return;
        }
        if (event.name !== "job") continue;
        const job = JSON.parse(event.data);
        yield { job };
        if (hasEnded(job)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      const problem = error instanceof Problem ? error : Problem.unreachable();
      if (problem.status === 404) {
        yield { deleted: true }; // whoever follows a job has seen it
        return;
      }
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) throw problem;
      yield { lost: problem };
    }
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_PAUSE_MS);
  }
}

/** The events of one connection until it ends. Raises when it breaks or falls silent. */
async function* stream(path, signal) {
  const silence = new AbortController();
  const connection = AbortSignal.any([signal, silence.signal]);
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const answer = await request(path, { headers: { Accept: "text/event-stream" }, signal: connection });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
      text = blocks.pop();
      yield* blocks.map(parsed);
    }
  } catch (error) {
    throw isAbort(error) && !signal.aborted ? Problem.unreachable() : error;
  } finally {
    clearTimeout(timer);
  }
}

function parsed(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = line.match(/^(\w*): ?(.*)$/) ?? [];
    if (field === "event") event.name = value;
    if (field === "data") event.data += value;
  }
  return event;
}
