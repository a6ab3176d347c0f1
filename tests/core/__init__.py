"""cpu.wasm under wasmtime, and a native build of it."""
