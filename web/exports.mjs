/**
 * Calls into cpu.wasm with plain numbers.
 *
 * JavaScript wants a BigInt for every i64 and a Number for the rest, and
 * `WebAssembly.Module.exports` does not say which is which.  So the signatures
 * are read from the module's own type, function and export sections
 * (WebAssembly Core Specification, section 5.5): no table that could drift
 * from the C code.
 */

/** @typedef {{parameters: number[], results: number[]}} Signature */

const I32 = 0x7f;
const I64 = 0x7e;
const SECTION = { type: 1, import: 2, function: 3, export: 7 };
const KIND_FUNCTION = 0;

/** A cursor over a module's bytes. */
class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  /** @returns {number} */
  byte() {
    if (this.at >= this.bytes.length) throw new Error(`cpu.wasm ends early, at byte ${this.at}`);
    return this.bytes[this.at++];
  }

  /** An unsigned LEB128 number. @returns {number} */
  u32() {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error(`cpu.wasm has a number longer than 5 bytes at byte ${this.at}`);
  }

  /** @returns {string} */
  name() {
    const length = this.u32();
    // A copy, not a view: TextDecoder refuses shared memory.
    const text = new TextDecoder().decode(this.bytes.slice(this.at, this.at + length));
    this.at += length;
    return text;
  }

  /**
   * @template T
   * @param {() => T} item
   * @returns {T[]}
   */
  vector(item) {
    return Array.from({ length: this.u32() }, item);
  }

  /** Limits of a memory or table. */
  limits() {
    const flags = this.byte();
    this.u32();
    if (flags & 1) this.u32();
  }
}

/**
 * The signature of every exported function.
 *
 * @param {Uint8Array} bytes a Wasm module
 * @returns {Map<string, Signature>}
 */
export function signatures(bytes) {
  const reader = new Reader(bytes);
  reader.at = 8; // magic and version: WebAssembly.compile has checked them
  /** @type {Signature[]} */
  let types = [];
  /** @type {number[]} type index of each function, imports first */
  const functions = [];
  /** @type {Map<string, Signature>} */
  const found = new Map();
  while (reader.at < bytes.length) {
    const section = reader.byte();
    const size = reader.u32();
    const end = reader.at + size;
    if (section === SECTION.type) {
      types = reader.vector(() => {
        reader.byte(); // 0x60: a function type
        return { parameters: reader.vector(() => reader.byte()), results: reader.vector(() => reader.byte()) };
      });
    } else if (section === SECTION.import) {
      reader.vector(() => {
        reader.name();
        reader.name();
        const kind = reader.byte();
        if (kind === KIND_FUNCTION) functions.push(reader.u32());
        else if (kind === 1) (reader.byte(), reader.limits());
        else if (kind === 2) reader.limits();
        else (reader.byte(), reader.byte()); // a global: type, mutability
      });
    } else if (section === SECTION.function) {
      reader.vector(() => functions.push(reader.u32()));
    } else if (section === SECTION.export) {
      reader.vector(() => {
        const name = reader.name();
        const kind = reader.byte();
        const index = reader.u32();
        if (kind === KIND_FUNCTION) found.set(name, types[functions[index]]);
      });
    }
    reader.at = end;
  }
  return found;
}

/**
 * `call(name, ...numbers)` for an instance: arguments may be Numbers or
 * BigInts, an i32 result comes back unsigned, an i64 result as an unsigned
 * BigInt.
 *
 * @param {WebAssembly.Exports} exports
 * @param {Map<string, Signature>} known
 * @returns {(name: string, ...numbers: (number | bigint)[]) => number | bigint}
 */
export function caller(exports, known) {
  return (name, ...numbers) => {
    const signature = known.get(name);
    if (!signature) throw new Error(`cpu.wasm exports no function ${JSON.stringify(name)}`);
    const { parameters, results } = signature;
    if (numbers.length !== parameters.length) {
      throw new Error(`cpu.wasm: ${name} takes ${parameters.length} arguments, ${numbers.length} were given`);
    }
    const converted = numbers.map((number, i) =>
      parameters[i] === I64 ? BigInt.asIntN(64, BigInt(number)) : Number(number),
    );
    const run = /** @type {Function} */ (exports[name]);
    const result = run(...converted);
    if (results.length === 0) return 0;
    if (results[0] === I64) return BigInt.asUintN(64, result);
    return results[0] === I32 ? result >>> 0 : result;
  };
}
