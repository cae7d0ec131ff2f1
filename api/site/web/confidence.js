// What a job's histogram of confidences says: how many rows are above one, and how many of them to expect wrong. Pure.

/**
 * @typedef {{confidence: number, rows: number, reviewed: number, expected_errors: number}} Bin `confidence`: its lower
 * edge
 */

/**
 * Rows at or above a confidence, how many of them a person has looked at, and how many of the others are wrong, as
 * their confidences say.
 * @param {Bin[]} histogram
 */
export function above(histogram, confidence) {
  const sum = { rows: 0, reviewed: 0, expectedErrors: 0 };
  for (const bin of histogram) {
    if (bin.confidence < confidence - 1e-9) continue;
    sum.rows += bin.rows;
    sum.reviewed += bin.reviewed;
    sum.expectedErrors += bin.expected_errors;
  }
  return sum;
}

/** The highest confidence below a threshold, as the API takes it: it rounds to four decimals. */
export const below = (threshold) => Math.max(0, threshold - 0.0001).toFixed(4);

/** The lowest confidence from which on, of all rows together, at most this share is expected to be wrong. */
function thresholdFor(histogram, share) {
  let rows = 0;
  let errors = 0;
  let threshold = 1;
  for (const bin of [...histogram].reverse()) {
    rows += bin.rows;
    errors += bin.expected_errors;
    if (errors <= share * rows) threshold = bin.confidence;
  }
  return threshold;
}

/**
 * What a finished job needs: `likely` rows that are together 99 % likely right or that a person has looked at,
 *   `doubtful` ones
 * below `threshold` that nobody has.
 */
export function verdict(summary) {
  const threshold = thresholdFor(summary.histogram, 0.01);
  const all = above(summary.histogram, 0);
  const sure = above(summary.histogram, threshold);
  const doubtful = all.rows - sure.rows - (all.reviewed - sure.reviewed);
  return { threshold, likely: all.rows - doubtful, doubtful };
}
