// The kernels on cores in this process, all variants in turn; called by bench/bare.py.
//
// Its only argument is JSON: the cores' files, what memory they begin with, the
// guest, the kernels.  Prints JSON: per kernel and core the best and the first
// time in microseconds, guest instructions of a run, and the native best.
import fs from "node:fs";
import { spawnSync } from "node:child_process";

const job = JSON.parse(process.argv[2]);
const elf = fs.readFileSync(job.guest);

function start(file) {
  const memory = new WebAssembly.Memory({ initial: job.pages, maximum: job.pages, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const imports = { env: { memory } };
  const install = (offset, count, slots) => {
    const table = core.__indirect_function_table;
    if (table.length < slots) table.grow(Math.max(1024, slots - table.length));
    imports.env.table = table;
    new WebAssembly.Instance(new WebAssembly.Module(bytes.slice(offset >>> 0, (offset >>> 0) + count)), imports);
    return 1;
  };
  const host = { clock: () => performance.now() * 1000 + 1e6, install };
  const core = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(file)), { env: { memory }, host }).exports;
  core.__stack_pointer.value = job.stack;
  for (const [at, size, value] of job.writes)
    for (let k = 0; k < size; k++) bytes[at + k] = Number((BigInt(value) >> BigInt(8 * k)) & 0xffn);
  core.machine_init();
  const ram = (address) => address - job.ram_base + job.ram_offset;
  for (const [address, from, count] of job.segments) bytes.set(elf.subarray(from, from + count), ram(address));
  core.hart_start(0, BigInt(job.entry), 0n, 0n, 3);
  const box = ram(job.mailbox);
  return (kernel, scale) => {
    view.setBigUint64(box + 8, BigInt(scale), true);
    view.setBigUint64(box + 24, 0n, true);
    view.setBigUint64(box, BigInt(kernel + 1), true);
    const before = view.getBigUint64(job.instret, true);
    const begun = performance.now();
    for (let n = 0; view.getBigUint64(box + 24, true) === 0n; n++) {
      if (n === 1_000_000) throw new Error("the kernel does not end");
      core.hart_run(0, 50_000, job.nowait);
    }
    const microseconds = (performance.now() - begun) * 1000;
    return { sum: view.getBigUint64(box + 16, true), microseconds, insns: Number(view.getBigUint64(job.instret, true) - before) };
  };
}

const cores = job.cores.map(start);
const found = {};
for (const { name, number, scale } of job.kernels) {
  const row = { native: Infinity, best: cores.map(() => Infinity), first: [], insns: [] };
  for (let round = 0; round < job.rounds; round++) {
    const [sum, took] = spawnSync(job.native, [String(number), String(scale), "8"]).stdout.toString().split(" ");
    row.native = Math.min(row.native, Number(took) / 1000);
    cores.forEach((run, k) => {
      for (let n = 0; n < job.repeats; n++) {
        const got = run(number, scale);
        if (got.sum !== BigInt(sum)) throw new Error(`${job.cores[k]}: ${name} gives ${got.sum}, natively ${sum}`);
        row.first[k] ??= got.microseconds;
        row.best[k] = Math.min(row.best[k], got.microseconds);
        row.insns[k] = got.insns;
      }
    });
    if (round < 2) await new Promise((resolve) => setTimeout(resolve, 700)); // the engine compiles beside
  }
  found[name] = row;
}
console.log(JSON.stringify(found));
process.exit(0);
