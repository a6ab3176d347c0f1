/** Hartwell's packages and what they need, in the page's Python: the files of static/wheels/. */

import { isInstaller, unpackWheel } from "./python.mjs";

const UNPACK_MS = 3000;

/** @typedef {{name: string, digest: string, url: string}} Wheel */

export class Wheels {
  /**
   * @param {URL} folder
   * @param {(name: string) => Promise<Uint8Array>} load
   */
  constructor(folder, load) {
    this.folder = folder;
    this.load = load;
  }

  /** @returns {Promise<Wheel[]>} */
  async list() {
    /** @type {Record<string, string>} */
    const digests = JSON.parse(new TextDecoder().decode(await this.load("wheels.json")));
    return Object.entries(digests).map(([name, digest]) => ({ name, digest, url: new URL(name, this.folder).href }));
  }

  /**
   * The wheels' files, into a Python that began without them: when a visit's
   * machine is up, which should not wait for it, or at the first import of a
   * module that was not in the heap.
   *
   * @param {any} pyodide
   * @param {Wheel[]} wheels
   */
  async unpackLater(pyodide, wheels) {
    let unpacked = false;
    /** @param {Uint8Array[]} contents */
    const unpack = (contents) => {
      if (unpacked) return;
      unpacked = true;
      for (const bytes of contents) unpackWheel(pyodide, { bytes });
      pyodide.runPython("import importlib; importlib.invalidate_caches()");
    };
    pyodide.runPython(LATE_FINDER)(() => unpacked || unpack(wheels.map(({ url }) => fetchNow(url))));
    await new Promise((resolve) => setTimeout(resolve, UNPACK_MS));
    unpack(await Promise.all(wheels.map(({ name }) => this.load(name))));
  }

  /**
   * Installs the wheels as anybody would: micropip from its wheel, the rest by it.
   *
   * @param {any} pyodide
   * @param {Wheel[]} wheels
   */
  async install(pyodide, wheels) {
    const urls = (/** @type {Wheel[]} */ list) => list.map(({ url }) => url);
    await pyodide.loadPackage(urls(wheels.filter(({ name }) => isInstaller(name))), { messageCallback: () => {} });
    const rest = urls(wheels.filter(({ name }) => !isInstaller(name)));
    // The list is complete, so nothing is looked up in an index: deps=False.
    await pyodide.runPythonAsync(`import micropip\nawait micropip.install(${JSON.stringify(rest)}, deps=False)`);
  }
}

/** Is asked last for a module, and once. */
const LATE_FINDER = `
def add(unpack):
    import sys
    from importlib.machinery import PathFinder

    class LateFinder:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            sys.meta_path.remove(cls)
            unpack()
            return PathFinder.find_spec(name, path, target)

    sys.meta_path.append(LateFinder)
add
`;

/**
 * A file at once: an import cannot wait for a promise.
 * @param {string} url
 */
function fetchNow(url) {
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  request.responseType = "arraybuffer";
  request.send();
  if (request.status !== 200) throw new Error(`${url}: the server answered ${request.status}`);
  return new Uint8Array(request.response);
}
