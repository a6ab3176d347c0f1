/**
 * Zstandard (RFC 8878) by the library's own code in WebAssembly; the package
 * and its digest are in web/packages.lock.
 *
 * Its plain C interface is used with two buffers that live as long as the
 * worker, so a chunk costs no allocation but that of its result.
 */

const LEVEL = 1; // docs/decisions/0011: higher ones cost more time than writing what they save

/** Frames of chunks of at most `largest` bytes. */
export class Zstd {
  /**
   * @param {URL | string} folder where zstd.mjs and zstd.wasm are, with a slash at its end
   * @param {(url: URL) => Promise<Uint8Array>} read
   * @param {number} largest bytes of a chunk
   */
  static async open(folder, read, largest) {
    const { Module } = await import(String(new URL("zstd.mjs", folder)));
    const up = new Promise((resolve) => (Module.onRuntimeInitialized = resolve));
    Module.init(await read(new URL("zstd.wasm", folder)));
    await up;
    return new Zstd(Module, largest);
  }

  /**
   * @param {any} module
   * @param {number} largest
   */
  constructor(module, largest) {
    this.module = module;
    this.largest = largest;
    this.bound = module._ZSTD_compressBound(largest);
    this.plain = module._malloc(largest);
    this.packed = module._malloc(this.bound);
    this.compressor = module._ZSTD_createCCtx();
    this.decompressor = module._ZSTD_createDCtx();
  }

  /**
   * @param {Uint8Array} bytes at most `largest`
   * @returns {Uint8Array} a frame of its own
   */
  compress(bytes) {
    const { module } = this;
    module.HEAPU8.set(bytes, this.plain);
    const count = module._ZSTD_compress_usingDict(
      this.compressor, this.packed, this.bound, this.plain, bytes.length, 0, 0, LEVEL,
    );
    if (module._ZSTD_isError(count)) throw new Error(`Zstandard: a chunk of ${bytes.length} bytes was not compressed`);
    return module.HEAPU8.slice(this.packed, this.packed + count);
  }

  /**
   * @param {Uint8Array} frame from anywhere: it may be damaged, or claim any size
   * @param {number} count bytes that it must hold
   * @returns {Uint8Array | null} a view, good until the next call; null when it is no such frame
   */
  decompress(frame, count) {
    const plain = this.unpack(frame, count);
    return plain?.length === count ? plain : null;
  }

  /**
   * As decompress(), of a frame that holds at most `most` bytes.
   *
   * @param {Uint8Array} frame
   * @param {number} [most]
   */
  unpack(frame, most = this.largest) {
    const { module } = this;
    if (frame.length > this.bound || most > this.largest) return null;
    module.HEAPU8.set(frame, this.packed);
    const got = module._ZSTD_decompress_usingDict(
      this.decompressor, this.plain, most, this.packed, frame.length, 0, 0,
    );
    return module._ZSTD_isError(got) ? null : module.HEAPU8.subarray(this.plain, this.plain + got);
  }
}
