// Numbers, sizes and times as people read them. Pure.

export const count = (number) => number.toLocaleString("en");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A share of 1; enough decimals to tell a rare thing from none. */
export function percent(share, decimals = 1) {
  return `${(100 * share).toFixed(decimals)} %`;
}

/** A confidence as on the cards: 99.9 % is never rounded up to 100. */
export function sureness(confidence) {
  return `${(Math.floor(confidence * 1000) / 10).toFixed(1)} %`;
}

export function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) {
    bytes /= 1000;
    power += 1;
  }
  return `${power > 0 && bytes < 100 ? bytes.toFixed(1) : count(Math.round(bytes))} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return plural(Math.round(seconds), "second");
  if (seconds < 5400) return plural(Math.round(seconds / 60), "minute");
  return plural(Math.round(seconds / 3600), "hour");
}

/** An ISO time in the reader's own. */
export function moment(iso) {
  return new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export const titleOf = (job) => job.name ?? `Job ${job.id.slice(-6)}`;

export const done = (counts) => counts.total - counts.pending;

export const hasEnded = (job) => ["completed", "cancelled", "failed"].includes(job.state);
