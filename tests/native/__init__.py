"""C for tests, and how it is built: natively or to Wasm, with the zig of the ziglang wheel."""
