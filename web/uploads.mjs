/** Files that a person gives to the guest: dropped on the console, or picked. */

const DEFAULT_FOLDER = "/mnt/host";

/** @typedef {{path: string, file: File}} Upload the path is relative, with its folders */

/**
 * Makes an element take dropped files and folders.
 *
 * @param {HTMLElement} element
 * @param {import("./dock.mjs").Page} page
 */
export function takeDrops(element, page) {
  const carriesFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  // First, since the terminal handles drops of text itself.
  const options = { capture: true };
  element.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    element.classList.add("drop");
  }, options);
  element.addEventListener("dragleave", () => element.classList.remove("drop"), options);
  element.addEventListener("drop", (event) => {
    element.classList.remove("drop");
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry());
    const files = [...(event.dataTransfer?.files ?? [])];
    void (async () => {
      const uploads = [];
      try {
        for (const entry of entries) if (entry) uploads.push(...(await below(entry)));
      } catch (error) {
        page.tell(/** @type {Error} */ (error)); // a file that can't be read, or has gone
        return;
      }
      // A script's drop has files without entries.
      if (!uploads.length) uploads.push(...files.map((file) => ({ path: file.name, file })));
      await uploadAll(page, uploads);
    })();
  }, options);
}

/**
 * Uploads and says where to; an error ends it.
 *
 * @param {import("./dock.mjs").Page} page
 * @param {Upload[]} uploads
 * @param {string} [folder]
 */
export async function uploadAll(page, uploads, folder = DEFAULT_FOLDER) {
  const places = [];
  try {
    for (const { path, file } of uploads) {
      const data = new Uint8Array(await file.arrayBuffer());
      places.push(await page.supervisor.upload(`${folder}/${path}`, data));
    }
  } catch (error) {
    page.tell(/** @type {Error} */ (error));
  }
  if (places.length === 1) page.say(`The guest has it as ${places[0]}`);
  else if (places.length) page.say(`The guest has ${places.length} files below ${folder}: ${places[0]} and so on`);
}

/** @returns {Promise<Upload[]>} what the person picks in a dialogue; none if they think better of it */
export function pickUploads() {
  const input = Object.assign(document.createElement("input"), { type: "file", multiple: true });
  return new Promise((resolve) => {
    input.addEventListener("change", () => resolve([...(input.files ?? [])].map((file) => ({ path: file.name, file }))));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

/**
 * @param {any} entry of a dropped file or folder
 * @returns {Promise<Upload[]>}
 */
async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.slice(1), file }];
  }
  const reader = entry.createReader();
  const uploads = [];
  for (;;) {
    // It gives at most a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return uploads;
    for (const inner of some) uploads.push(...(await below(inner)));
  }
}
