"""The 9P device's queue: what a driver that has just started sees, and a hostile one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hartwell.devices.ninep import NinepDevice
from hartwell.errors import BadConfiguration
from hartwell.ninep.folder import OsFolder
from hartwell.ninep.handles import HandleFolder
from hartwell.ninep.messages import NOFID, decode, encode
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core.virtio_driver import NEEDS_RESET, Driver

SLOT = 9
VERSION = encode("Tversion", 0xFFFF, msize=8192, version="9P2000.L")
ATTACH = encode("Tattach", 1, fid=0, afid=NOFID, uname="root", aname="", n_uname=0)


@pytest.fixture
def device(core: WasmtimeCore, tmp_path: Path) -> NinepDevice:
    (tmp_path / "file").write_bytes(b"content")
    made = NinepDevice(OsFolder(tmp_path), "tag")
    made.attach(core, SLOT)
    return made


@pytest.fixture
def driver(core: WasmtimeCore, device: NinepDevice) -> Driver:
    driver = Driver(core, SLOT)
    driver.start(features=1 << 32 | 1 << 28 | 1)
    return driver


def ask(driver: Driver, device: NinepDevice, *parts: bytes, room: int = 8192, indirect: bool = False) -> bytes:
    _, places = driver.request(0, list(parts), [room], indirect=indirect)
    device.serve()
    [(_, written)] = driver.used(0)
    return driver.peek(places[0], written)


def test_the_mount_tag_is_in_config(driver: Driver) -> None:
    tag = bytes(driver.read(0x100 + at, 1) for at in range(5))
    assert tag == b"\3\0tag"
    assert driver.offered_features() & 1


def test_requests_are_answered_at_once(driver: Driver, device: NinepDevice) -> None:
    assert decode(ask(driver, device, VERSION)).msize == 8192
    assert decode(ask(driver, device, ATTACH[:7], ATTACH[7:], indirect=True)).kind == "Rattach"
    walk = encode("Twalk", 1, fid=0, newfid=1, names=["file"])
    assert decode(ask(driver, device, walk)).kind == "Rwalk"
    assert decode(ask(driver, device, encode("Tlopen", 1, fid=1, flags=0))).kind == "Rlopen"
    assert decode(ask(driver, device, encode("Tread", 1, fid=1, offset=3, count=100))).data == b"tent"


@pytest.mark.parametrize("data", [b"", b"\1", b"\xff" * 4000, VERSION[:-1], encode("Tread", 1, fid=5, offset=0, count=1)])
def test_a_hostile_message_gets_an_error_and_the_next_is_served(driver: Driver, device: NinepDevice, data: bytes) -> None:
    assert decode(ask(driver, device, data)).kind == "Rlerror"
    assert decode(ask(driver, device, VERSION)).kind == "Rversion"
    assert not driver.status & NEEDS_RESET


def test_no_room_for_a_reply(driver: Driver, device: NinepDevice) -> None:
    assert ask(driver, device, VERSION, room=3) == b"\x0b\0\0"  # as much of the error as fits
    assert decode(ask(driver, device, VERSION)).kind == "Rversion"


def test_a_reset_closes_what_was_open(driver: Driver, device: NinepDevice) -> None:
    for message in (VERSION, ATTACH, encode("Twalk", 1, fid=0, newfid=1, names=["file"])):
        ask(driver, device, message)
    driver.write(0x70, 0)
    device.serve()
    assert device.server.fids == {}


def test_a_tag_has_its_limits(tmp_path: Path) -> None:
    for tag in ("", "x" * 65):
        with pytest.raises(BadConfiguration, match="tag"):
            NinepDevice(OsFolder(tmp_path), tag)


async def test_a_folder_that_makes_wait_is_answered_later(core: WasmtimeCore) -> None:
    class Slow:
        """A folder of the browser's, as far as a listing needs it."""

        async def call(self, method: str, path: str, *arguments: object) -> object:
            await asyncio.sleep(0.01)
            if method == "stat":
                return {"error": "ENOENT"} if path else {"folder": True, "size": 0, "modified": 0, "number": 7}
            return {"names": ["a", "../b", ""]}

    device = NinepDevice(HandleFolder(Slow()))
    device.attach(core, SLOT)
    driver = Driver(core, SLOT)
    driver.start(features=1 << 32)
    ask(driver, device, VERSION)
    _, places = driver.request(0, [ATTACH], [100])
    device.serve()
    assert driver.used(0) == []
    for _ in range(1200):
        if used := driver.used(0):
            break
        await asyncio.sleep(0.1)
    [(_, written)] = used
    reply = decode(driver.peek(places[0], written))
    assert (reply.kind, reply.qid.path) == ("Rattach", 7)
    assert await HandleFolder(Slow()).list(()) == ["a"]
