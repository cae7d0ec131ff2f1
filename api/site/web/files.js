// What was dropped or chosen, as the files of one or several jobs. Knows file systems as browsers show them.

const LITTER = /(^|\/)(__MACOSX\/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)/i;
export const MOST_FILES = 10_000; // of one form; the service says so too, after the upload

/** @typedef {{file: File, name: string}} Scan a file with its path in what was chosen */

/** All files below what was dropped, folders opened. @returns {Promise<Scan[]>} */
export async function dropped(transfer) {
  // Asked for at once: the items are gone after the first await.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  return withoutLitter((await Promise.all(entries.map(below))).flat());
}

/** Those of an <input type=file>. @returns {Scan[]} */
export function chosen(input) {
  return withoutLitter([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
}

async function below(entry) {
  if (entry instanceof File) return [{ file: entry, name: entry.name }];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.slice(1) }];
  }
  const reader = entry.createReader();
  const found = [];
  while (true) {
    // a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(below))).flat();
}

const withoutLitter = (scans) => scans.filter(({ name }) => !LITTER.test(name));

/**
 * Each zip is a job of its own, and all images together are one.
 * @param {Scan[]} scans
 * @returns {{name: string, scans: Scan[], zip: boolean, bytes: number}[]}
 */
export function asJobs(scans) {
  const isZip = ({ file }) => /\.zip$/i.test(file.name) || file.type === "application/zip";
  const zips = scans.filter(isZip).map((scan) => [scan]);
  const images = scans.filter((scan) => !isZip(scan)).sort((a, b) => (a.name < b.name ? -1 : 1));
  return [...zips, ...(images.length > 0 ? [images] : [])].map((some) => ({
    name: some.length === 1 ? some[0].file.name : (commonFolder(some) ?? `${some.length} images`),
    scans: some,
    zip: zips.includes(some),
    bytes: some.reduce((sum, { file }) => sum + file.size, 0),
  }));
}

function commonFolder(scans) {
  const [first] = scans[0].name.split("/");
  return scans.every(({ name }) => name.startsWith(`${first}/`)) ? first : null;
}
