"""web/folders.mjs over a folder in memory, with requests side by side as a guest makes them."""

from __future__ import annotations

import json
import subprocess

from hartwell.setup import node, paths

# File System Access as far as it matters here: one sync access handle of a file at a time, and what a
# writer wrote is there once it is closed.
SCRIPT = """
import { HandleFolder } from "./web/folders.mjs";

const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
const error = (name) => Object.assign(new Error(name), { name });

class FakeFile {
  kind = "file";
  bytes = new Uint8Array(0);
  held = false;
  constructor(fast) { this.fast = fast; }
  async createSyncAccessHandle() {
    await pause();
    if (!this.fast) throw error("InvalidStateError");
    if (this.held) throw error("NoModificationAllowedError");
    this.held = true;
    const live = (work) => (...rest) => { if (!this.held) throw error("InvalidStateError"); return work(...rest); };
    return {
      getSize: live(() => this.bytes.length),
      read: live((into, { at }) => {
        const part = this.bytes.subarray(at, at + into.length);
        into.set(part);
        return part.length;
      }),
      write: live((data, { at }) => { this.put(at, data); return data.length; }),
      truncate: live((size) => { this.bytes = this.bytes.slice(0, size); }), flush: live(() => {}),
      close: live(() => { this.held = false; }),
    };
  }
  put(at, data) {
    const next = new Uint8Array(Math.max(this.bytes.length, at + data.length));
    next.set(this.bytes); next.set(data, at); this.bytes = next;
  }
  async createWritable() {
    await pause();
    const copy = new FakeFile(false);
    copy.bytes = this.bytes.slice();
    let open = true;
    const live = (work) => async (...rest) => { await pause(); if (!open) throw new TypeError("closed"); return work(...rest); };
    const truncate = (size) => { const next = new Uint8Array(size); next.set(copy.bytes.subarray(0, size)); copy.bytes = next; };
    return {
      write: live(({ type, position, data, size }) => type === "truncate" ? truncate(size) : copy.put(position, data)),
      truncate: live(truncate), close: live(() => { open = false; this.bytes = copy.bytes; }),
    };
  }
  async getFile() { await pause(); return Object.assign(new Blob([this.bytes]), { lastModified: 0 }); }
}

class FakeFolder {
  kind = "directory";
  files = new Map();
  constructor(fast) { this.fast = fast; }
  async getFileHandle(name, { create = false } = {}) {
    await pause();
    if (!this.files.has(name)) { if (!create) throw error("NotFoundError"); this.files.set(name, new FakeFile(this.fast)); }
    return this.files.get(name);
  }
  async getDirectoryHandle() { throw error("NotFoundError"); }
  async removeEntry(name) { this.files.delete(name); }
}

const told = {};
for (const fast of [true, false]) {
  const disk = new FakeFolder(fast), folder = new HandleFolder(disk), call = folder.call;
  await call("create", "f", false);
  const writes = Array.from({ length: 8 }, (_, i) => call("write", "f", 4 * i, new Uint8Array(4).fill(i + 1)));
  const others = [call("read", "f", 0, 4), call("stat", "f"), call("flush", "f"), call("read", "f", 0, 4)];
  const answers = await Promise.all([...writes, ...others]);
  await call("flush", "f");
  const reads = await Promise.all(Array.from({ length: 4 }, () => call("read", "f", 0, 32)));
  await call("rename", "f", "f");
  await call("flush", "f");
  told[fast ? "own" : "picked"] = {
    errors: [...answers, ...reads].map((answer) => answer.error).filter(Boolean), reads: reads.map((bytes) => [...bytes].join()),
    held: disk.files.get("f")?.held, left: [...disk.files.keys()],
  };
}
console.log(JSON.stringify(told));
"""


def test_requests_side_by_side() -> None:
    result = subprocess.run(
        [str(node.find()), "--input-type=module", "--no-warnings", "-e", SCRIPT], cwd=paths.ROOT, capture_output=True, text=True,
        check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    written = ",".join(str(1 + i // 4) for i in range(32))
    right = {"errors": [], "reads": [written] * 4, "held": False, "left": ["f"]}
    assert json.loads(result.stdout) == {"own": right, "picked": right}
