"""How what a machine is made of is fetched (hartwell.request)."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, cast

import pytest

from hartwell.errors import BadConfiguration, BadKernel
from hartwell.links import Links
from hartwell.platform import Platform
from hartwell.request import Request, make_request

# Documentation/arch/riscv/boot-image-header.rst: the second magic number is at byte 56.
KERNEL = struct.pack("<IIQQQIIQQII", 0, 0, 0x200000, 0x1000, 0, 2, 0, 0, 0, 0x05435352, 0).ljust(8192, b"\0")
FILES = {
    "images/index.json": json.dumps({"default": "shell", "images": ["shell"]}).encode(),
    "images/shell/image.json": json.dumps({"kernel": "Image", "initrd": "initrd"}).encode(),
    "images/shell/Image": KERNEL,
    "images/shell/initrd": b"files",
}


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]

    def free(self) -> None:
        self.data = b""


class Server:
    """Answers a fetch when everything that could be asked for has been."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked, self.most, self.open = files, list[str](), 0, 0

    async def fetch(self, source: str) -> Bytes:
        self.asked.append(source)
        self.open += 1
        for _ in range(5):
            await asyncio.sleep(0)
        self.most = max(self.most, self.open)
        self.open -= 1
        if source not in self.files:
            raise FileNotFoundError(source)
        return Bytes(self.files[source])

    async def locate(self, source: str) -> None:
        return None


def request(server: Server) -> Request:
    nothing: dict[str, Any] = dict.fromkeys(("image", "harts", "memory", "kernel", "initrd", "append", "firmware", "bare"))
    return asyncio.run(make_request(cast(Platform, server), disks=(), **nothing))


def test_kernel_and_initrd_are_fetched_at_once_and_nothing_twice() -> None:
    server = Server(FILES)
    made = request(server)
    assert sorted(server.asked) == sorted(FILES)
    assert server.most == 2
    assert made.initrd is not None and made.initrd.read(0, 9) == b"files"


def test_a_bad_kernel_is_named_whatever_else_comes() -> None:
    with pytest.raises(BadKernel, match="images/shell/Image"):
        request(Server({**FILES, "images/shell/Image": b"no kernel"}))


def test_a_missing_initrd_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="initrd"):
        request(Server({name: data for name, data in FILES.items() if "initrd" not in name}))


@pytest.mark.parametrize(
    "given",
    [
        {"disks": 5}, {"disks": "a.img"}, {"disks": b"x"}, {"disks": [{"nope": 1}]}, {"disks": [{"size": "1M"}] * 9},
        {"disks": [{"size": "1M", "overlay": 5}]}, {"disks": [{"size": "1M", "overlay": ""}]}, {"overlay": 5}, {"overlay": ""},
        {"append": 5}, {"append": b"x"}, {"append": "\ud800"}, {"append": "\0"}, {"harts": "2"}, {"memory": 1.5},
    ],
)
def test_what_cannot_be_is_named_before_anything_is_fetched_or_ended(given: dict[str, Any]) -> None:
    (name,) = given
    server = Server(FILES)
    nothing: dict[str, Any] = dict.fromkeys(("image", "harts", "memory", "kernel", "initrd", "append", "firmware", "bare"))
    with pytest.raises(BadConfiguration, match=name):
        asyncio.run(make_request(cast(Platform, server), **{"disks": (), **nothing, **given}))
    assert "images/shell/Image" not in server.asked


@pytest.mark.parametrize(
    "given", [{"network": 5}, {"network": [5]}, {"network": ""}, {"share": 5}, {"share": ""}, {"share": ":ro"}])
def test_links_that_cannot_be(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(BadConfiguration, match=name):
        Links(cast(Platform, Server({})), **{"share": None, "network": None, **given})
