"""What is seen inside a real guest from outside, on wasmtime."""
