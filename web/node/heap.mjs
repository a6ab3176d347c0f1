/**
 * Makes the memory of a started Python ahead, for pages to begin with
 * (python.mjs): set-up runs it, and no page need start Python from nothing.
 *
 *     node web/node/heap.mjs STATIC FILE
 *
 * Pyodide, the wheels and their list are those below STATIC.
 */

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { isInstaller, makeAhead, unpackWheel } from "../python.mjs";

const [folder, file] = process.argv.slice(2);
const indexURL = path.join(folder, "pyodide") + path.sep;
const { loadPyodide, version } = await import(pathToFileURL(path.join(indexURL, "pyodide.mjs")).href);
/** @type {Record<string, string>} */
const digests = JSON.parse(await readFile(path.join(folder, "wheels", "wheels.json"), "utf8"));
const parts = Object.entries(digests).map(([name, digest]) => ({ name, digest }));
const heap = await makeAhead({
  loadPyodide,
  version,
  indexURL,
  engine: "",
  parts,
  // Without an installer: its modules are not to be in the heap.
  install: async (pyodide) => {
    for (const { name } of parts) {
      if (!isInstaller(name)) unpackWheel(pyodide, { bytes: Uint8Array.from(await readFile(path.join(folder, "wheels", name))) });
    }
    pyodide.runPython("import importlib; importlib.invalidate_caches()");
  },
  restore: () => {},
  store: { load: async () => null, save: async () => {}, clear: async () => {} },
  print: (text, stream) => void process[stream].write(text),
  report: () => {},
});
await writeFile(file, heap);
process.exit(0); // Python's loop would wait
