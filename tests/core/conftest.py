"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hartwell.platform.wasmtime import WasmtimeCore
from hartwell.setup import build
from tests.core import bench
from tests.core.memory_disk import IMAGE, Memory


@pytest.fixture(scope="session", autouse=True)
def current_build() -> None:
    """cpu.wasm as the sources are now."""
    assert build.main() == 0


@pytest.fixture
def core() -> Iterator[WasmtimeCore]:
    """Two harts, M mode is the program's; no thread runs."""
    core = bench.fresh_core()
    yield core
    core.terminate()


@pytest.fixture
def hart(core: WasmtimeCore) -> bench.Bench:
    """Hart 0 in M mode, PMP open, trap handlers that go nowhere."""
    return bench.Bench(core)


@pytest.fixture
def disk(core: WasmtimeCore) -> Memory:
    """In slot 1, as its first disk."""
    return Memory(core, 1, IMAGE)
