"""Device trees as such, and the board's own."""

from __future__ import annotations

import itertools
import re
import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hartwell.devices import board
from hartwell.devices.board import device_tree, virtio_irq
from hartwell.devices.devicetree import Node, cells64, decode, encode
from hartwell.errors import BadConfiguration
from hartwell.layout import MAX_HARTS, MAX_VIRTIO, PLIC_SOURCES, RAM_BASE

NAMES = st.text(st.sampled_from("abcxyz019,.-@#"), min_size=1, max_size=12)
VALUES = st.none() | st.binary(max_size=20) | st.integers(0, (1 << 32) - 1) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
)
NODES = st.recursive(
    st.builds(Node, NAMES, st.dictionaries(NAMES, VALUES, max_size=4)),
    lambda inner: st.builds(Node, NAMES, st.dictionaries(NAMES, VALUES, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=10,
)


def as_bytes(node: Node) -> Node:
    """The tree as `decode` gives it: values as bytes."""
    def value(one: object) -> bytes:
        if one is None:
            return b""
        if isinstance(one, int):
            return struct.pack(">I", one)
        return one.encode() + b"\0" if isinstance(one, str) else bytes(one)  # type: ignore[call-overload]

    return Node(
        node.name, {name: value(one) for name, one in node.properties.items()}, [as_bytes(one) for one in node.children]
    )


# --- the format ----------------------------------------------------------------------


@given(NODES)
def test_a_tree_is_read_back(node: Node) -> None:
    assert decode(encode(node)) == as_bytes(node)


def test_a_small_blob_byte_by_byte() -> None:
    root = Node("", {"a": 1, "list": [2, 3], "names": ["x", "yz"], "set": None})
    root.add("n@1", some_name="v")
    blob = encode(root)
    structure = (
        struct.pack(">I4x", 1)
        + struct.pack(">IIII", 3, 4, 0, 1)
        + struct.pack(">IIIII", 3, 8, 2, 2, 3)
        + struct.pack(">III", 3, 5, 7) + b"x\0yz\0\0\0\0"
        + struct.pack(">III", 3, 0, 13)
        + struct.pack(">I", 1) + b"n@1\0"
        + struct.pack(">III", 3, 2, 17) + b"v\0\0\0"
        + struct.pack(">III", 2, 2, 9)
    )
    strings = b"a\0list\0names\0set\0some-name\0"
    at = 40 + 16
    assert blob == struct.pack(
        ">10I", 0xD00DFEED, at + len(structure) + len(strings), at, at + len(structure), 40, 17, 16, 0,
        len(strings), len(structure),
    ) + bytes(16) + structure + strings


def test_a_property_name_is_stored_once() -> None:
    root = Node("")
    for i in range(3):
        root.add(f"n{i}", compatible="x")
    assert encode(root).count(b"compatible\0") == 1


def test_find() -> None:
    root = Node("")
    deep = root.add("soc").add("serial@1")
    assert root.find("/soc/serial@1") is deep
    assert root.find("soc/serial@1") is deep
    assert root.find("/") is root
    with pytest.raises(KeyError, match="/soc/nothing"):
        root.find("/soc/nothing")


def test_64_bits_are_two_cells() -> None:
    assert cells64(0x1_2345_6789, 5) == [1, 0x2345_6789, 0, 5]


@pytest.mark.parametrize("blob", [b"", bytes(100), b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xed" + bytes(36)])
def test_what_is_no_tree_is_refused(blob: bytes) -> None:
    with pytest.raises(BadConfiguration, match=r"^device tree: "):
        decode(blob)


@given(st.data())
def test_a_damaged_tree_is_read_or_refused(data: st.DataObject) -> None:
    blob = bytearray(device_tree(ram_bytes=1 << 24, harts=1, virtio_slots=[0]))
    for _ in range(data.draw(st.integers(1, 5))):
        blob[data.draw(st.integers(4, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(blob[: data.draw(st.sampled_from([len(blob), len(blob) // 2]))]))
    except BadConfiguration as error:
        assert str(error).startswith("device tree: ")


# --- the board's tree ------------------------------------------------------------------


def cells(data: object) -> list[int]:
    assert isinstance(data, bytes)
    return [one for (one,) in struct.iter_unpack(">I", data)]


def strings(data: object) -> list[str]:
    assert isinstance(data, bytes)
    assert data.endswith(b"\0")
    return data.decode()[:-1].split("\0")


def walk(node: Node) -> list[Node]:
    return [node, *(one for child in node.children for one in walk(child))]


@pytest.fixture(params=[1, 2, MAX_HARTS])
def harts(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture
def blob(harts: int) -> bytes:
    return device_tree(
        ram_bytes=5 << 30, harts=harts, bootargs="console=ttyS0", initrd=(0x1_8000_0000, 0x1_8000_1234),
        virtio_slots=range(MAX_VIRTIO), rng_seed=b"seed",
    )


@pytest.fixture
def tree(blob: bytes) -> Node:
    return decode(blob)


def test_the_root_and_the_choices(tree: Node) -> None:
    assert strings(tree.properties["compatible"]) == ["riscv-virtio"]
    chosen = tree.find("chosen").properties
    assert strings(chosen["bootargs"]) == ["console=ttyS0"]
    assert strings(chosen["stdout-path"]) == ["/soc/serial@10000000"]
    assert tree.find(strings(chosen["stdout-path"])[0])
    assert cells(chosen["linux,initrd-start"]) == [1, 0x8000_0000]
    assert cells(chosen["linux,initrd-end"]) == [1, 0x8000_1234]
    assert chosen["rng-seed"] == b"seed"


def test_the_memory(tree: Node) -> None:
    memory = tree.find(f"memory@{RAM_BASE:x}").properties
    assert strings(memory["device_type"]) == ["memory"]
    assert cells(memory["reg"]) == [0, RAM_BASE, 1, 1 << 30]


def test_the_harts(tree: Node, harts: int) -> None:
    cpus = tree.find("cpus")
    assert cells(cpus.properties["timebase-frequency"]) == [10_000_000]
    nodes = [node for node in cpus.children if node.name.startswith("cpu@")]
    assert [cells(node.properties["reg"]) for node in nodes] == [[hart] for hart in range(harts)]
    for node in nodes:
        extensions = strings(node.properties["riscv,isa-extensions"])
        (isa,) = strings(node.properties["riscv,isa"])
        assert isa == "rv64imafdc_" + "_".join(extensions[6:])
        assert {"sstc", "svadu", "zba", "zbb", "zbs", "zicbom", "zicboz", "zicond"} <= set(extensions)
        assert strings(node.properties["riscv,isa-base"]) == ["rv64i"]
        assert strings(node.properties["mmu-type"]) == ["riscv,sv48"]
        assert strings(node.properties["device_type"]) == ["cpu"]
        assert cells(node.properties["riscv,cbom-block-size"]) == cells(node.properties["riscv,cboz-block-size"]) == [64]
    handles = [node.properties["phandle"] for node in nodes]
    cores = tree.find("cpus/cpu-map/cluster0").children
    assert [core.properties["cpu"] for core in cores] == handles


def test_handles_are_unique_and_references_lead_somewhere(tree: Node) -> None:
    handles = [cells(node.properties["phandle"])[0] for node in walk(tree) if "phandle" in node.properties]
    assert len(set(handles)) == len(handles)
    for node in walk(tree):
        for name in ("interrupt-parent", "regmap", "cpu"):
            if name in node.properties:
                assert cells(node.properties[name])[0] in handles


def test_interrupt_controllers_reach_every_hart(tree: Node, harts: int) -> None:
    own = [cells(tree.find(f"cpus/cpu@{hart}/interrupt-controller").properties["phandle"])[0] for hart in range(harts)]
    clint = tree.find("soc/clint@2000000").properties
    assert cells(clint["interrupts-extended"]) == [cell for one in own for cell in (one, 3, one, 7)]
    plic = tree.find("soc/plic@c000000").properties
    assert cells(plic["interrupts-extended"]) == [cell for one in own for cell in (one, 11, one, 9)]
    assert cells(plic["riscv,ndev"]) == [PLIC_SOURCES - 1]


@pytest.mark.parametrize(
    ("name", "compatible", "reg", "irq"),
    [
        ("serial@10000000", "ns16550a", [0, 0x1000_0000, 0, 0x100], 10),
        ("rtc@101000", "google,goldfish-rtc", [0, 0x10_1000, 0, 0x1000], 11),
        ("test@100000", "sifive,test1", [0, 0x10_0000, 0, 0x1000], None),
        ("clint@2000000", "sifive,clint0", [0, 0x200_0000, 0, 0x1_0000], None),
        ("plic@c000000", "sifive,plic-1.0.0", [0, 0xC00_0000, 0, 0x60_0000], None),
        ("virtio_mmio@10001000", "virtio,mmio", [0, 0x1000_1000, 0, 0x1000], 1),
        ("virtio_mmio@10008000", "virtio,mmio", [0, 0x1000_8000, 0, 0x1000], 8),
        ("virtio_mmio@10009000", "virtio,mmio", [0, 0x1000_9000, 0, 0x1000], 16),
        ("virtio_mmio@10010000", "virtio,mmio", [0, 0x1001_0000, 0, 0x1000], 23),
    ],
)
def test_devices_lie_where_qemu_has_them(tree: Node, name: str, compatible: str, reg: list[int], irq: int | None) -> None:
    node = tree.find(f"soc/{name}").properties
    assert strings(node["compatible"])[0] == compatible
    assert cells(node["reg"]) == reg
    assert ("interrupts" in node) == (irq is not None)
    if irq is not None:
        assert cells(node["interrupts"]) == [irq]
        assert node["interrupt-parent"] == tree.find("soc/plic@c000000").properties["phandle"]


def test_devices_do_not_share_addresses_or_interrupts(tree: Node) -> None:
    soc = tree.find("soc").children
    spans = sorted((reg[1], reg[1] + reg[3]) for reg in (cells(node.properties["reg"]) for node in soc))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    irqs = [cells(node.properties["interrupts"])[0] for node in soc if "interrupts" in node.properties]
    assert len(set(irqs)) == len(irqs) == MAX_VIRTIO + 3  # UART, RTC, vmgenid
    assert all(0 < irq < PLIC_SOURCES for irq in irqs)
    for node in soc:
        assert int(node.name.split("@")[1], 16) == cells(node.properties["reg"])[1]


def test_power(tree: Node) -> None:
    for name, value in (("poweroff", 0x5555), ("reboot", 0x7777)):
        node = tree.find(name).properties
        assert strings(node["compatible"]) == [f"syscon-{name}"]
        assert node["regmap"] == tree.find("soc/test@100000").properties["phandle"]
        assert (cells(node["offset"]), cells(node["value"])) == ([0], [value])


def test_what_is_not_asked_for_is_not_there() -> None:
    tree = decode(device_tree(ram_bytes=1 << 24, harts=1, virtio_slots=[]))
    assert set(tree.find("chosen").properties) == {"bootargs", "stdout-path"}
    assert not [node for node in walk(tree) if node.name.startswith("virtio")]


def test_the_isa_string_is_in_canonical_order() -> None:
    single = "".join(name for name in board.EXTENSIONS if len(name) == 1)
    assert single == "imafdc"
    several = [name for name in board.EXTENSIONS if len(name) > 1]
    assert several == sorted(several, key=lambda name: (name[0] == "s", "imafdcb".find(name[1]) if name[0] == "z" else 0))


def test_interrupts_of_virtio_slots() -> None:
    assert [virtio_irq(slot) for slot in range(MAX_VIRTIO)] == [*range(1, 9), *range(16, 24)]
    for slot in (-1, MAX_VIRTIO):
        with pytest.raises(IndexError, match=f"virtio slot {slot} is outside"):
            virtio_irq(slot)


def test_the_reference_compiler_has_nothing_against_it(blob: bytes) -> None:
    """dtc where there is one; our own reader in any case."""
    assert len(walk(decode(blob))) > MAX_VIRTIO
    if dtc := shutil.which("dtc"):
        done = subprocess.run([dtc, "-I", "dtb", "-O", "dts", "-"], input=blob, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not re.findall(rb"(?i)(?:warning|error).*", done.stderr), done.stderr.decode()
