"""Machines that sleep and wake in Node: the same state, in every way of waking."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.test_storage import run_in_node

PRELUDE = """
import asyncio, hashlib, json
from hartwell import platform
from hartwell.layout import CONSTANTS, field
from hartwell.snapshot import structures

def fields(machine):
    "Path -> bytes of the guest's state outside RAM."
    found = {}
    for name, data in structures.read(machine._core).items():
        for path, (at, count) in structures.kept(name.split(".")[0]).items():
            found[name + "." + path] = data[at:at + count]
    return found

def memory(machine):
    "A digest of RAM."
    return hashlib.sha256(machine.memory.read(0x8000_0000, machine.memory.size)).hexdigest()

told = {}
"""
END = "\nprint(json.dumps(told))"

LIFE = PRELUDE + """
machine = await Machine.boot(harts=2, show=False)
await machine.console.expect(r"# $", timeout=400)
# A process that counts, a timer, a pipe between two, and two busy harts.
machine.console.write("i=0; while sleep 0.05; do i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; done &\\n")
machine.console.write("mkfifo /tmp/pipe; (while read line; do echo got $line >> /tmp/got; done < /tmp/pipe) &\\n")
machine.console.write("exec 9> /tmp/pipe\\n")
machine.console.write("echo one >&9\\n")
machine.console.write("(while :; do :; done) & (while :; do :; done) &\\n")
machine.console.write("echo rea''dy\\n")
await machine.console.expect("ready", timeout=240)
uptime = float((await machine.run("cut -d' ' -f1 /proc/uptime", timeout=240)).stdout)
await asyncio.gather(machine.checkpoint("desk"), machine.checkpoint())  # the second has the name that the first gives
told["state after a checkpoint"] = machine.state
machine.console.write("(sleep 25; echo TIMER-$((40+2))) & echo ar''med\\n")
await machine.console.expect("armed", timeout=240)
await machine.hibernate()
told["state"] = machine.state
told["shelf"] = [
    [one.name, one.image, one.harts, "ready" in one.screen, one.stored > 1 << 20] for one in await Machine.snapshots()
]
count = None
for lazy in (True, False):
    machine = await Machine.wake("desk", lazy=lazy, show=False)
    told[f"screen {lazy}"] = "ready" in machine.console.text()
    now = float((await machine.run("cut -d' ' -f1 /proc/uptime", timeout=240)).stdout)
    told[f"monotonic {lazy}"] = uptime <= now < uptime + 1000
    first = int((await machine.run("cat /tmp/count", timeout=240)).stdout)
    counts = f"until [ $(cat /tmp/count) -gt {first} ]; do sleep 0.1; done; echo yes"
    told[f"counts {lazy}"] = (await machine.run(counts, timeout=240)).stdout == "yes\\n"
    machine.console.write("echo two >&9\\n")
    await machine.console.expect("TIMER-42", timeout=240)
    await asyncio.sleep(1)
    told[f"timer once {lazy}"] = machine.console.text().count("TIMER-42")
    told[f"pipe {lazy}"] = (await machine.run("until grep -q two /tmp/got; do sleep 0.1; done; cat /tmp/got", timeout=240)).stdout
    told[f"reseeded {lazy}"] = "crng reseeded due to virtual machine fork" in (await machine.run("dmesg", timeout=240)).stdout
    try:
        await Machine.wake("desk", show=False)
    except Exception as error:
        told[f"second {lazy}"] = type(error).__name__
    await machine.close()
for name in ("desk", "nobody"):
    try:
        await Machine.delete_snapshot(name)
    except Exception as error:
        told["delete " + name] = type(error).__name__
told["left"] = len(await Machine.snapshots())
""" + END


def test_life_goes_on(tmp_path: Path) -> None:
    told = run_in_node(LIFE, tmp_path)
    for lazy in (True, False):
        assert told.pop(f"pipe {lazy}") == "got one\ngot two\n"
        assert told.pop(f"second {lazy}") == "MachineInUse"
        assert told.pop(f"timer once {lazy}") == 1
        for what in ("screen", "monotonic", "counts", "reseeded"):
            assert told.pop(f"{what} {lazy}") is True, what
    assert told == {
        "state after a checkpoint": "running", "state": "asleep", "shelf": [["desk", "shell", 2, True, True]],
        "delete nobody": "SnapshotNotFound", "left": 0,
    }


CLOSED = PRELUDE + """
import js
machine = await Machine.boot(harts=1, show=False)
await machine.console.expect(r"# $", timeout=400)
await machine.hibernate("desk")
kept, megabytes = [], []
for turn in range(8):
    machine = await Machine.wake("desk", lazy=False, show=False)
    await machine.run("true", timeout=240)
    await machine.close()
    kept.append(machine)
    await asyncio.sleep(2)  # the engine is reminded a second after
    megabytes.append(int(js.process.memoryUsage().rss) >> 20)
told["megabytes"] = megabytes
for what in (
    "machine.memory.read(0x8000_0000, 4)", "machine.harts[0].pc", "machine.statistics()",
    "machine.debugger.break_at(0x8020_0000)", "machine.trace.events('traps')", "machine.pause()", "machine.reset()",
):
    try:
        eval(what)
    except Exception as error:
        told[what] = type(error).__name__
told["console"] = "hartwell" in machine.console.text()
""" + END


def test_closed_machines_give_their_memory_back(tmp_path: Path) -> None:
    told = run_in_node(CLOSED, tmp_path)
    grown = told.pop("megabytes")
    assert min(grown[-3:]) - grown[0] < 240, f"each has 80 MB in use: {grown}"
    assert told.pop("console") is True
    assert len(told) == 7 and set(told.values()) == {"MachineStopped"}, told


SAME = PRELUDE + """
machine = await Machine.boot(harts=1, show=False)
await machine.console.expect(r"# $", timeout=400)
machine.console.write("while :; do find /bin | sort | md5sum > /dev/null; done &\\n")
await asyncio.sleep(1)
machine.pause()
before, told["before"] = fields(machine), memory(machine)
await machine.hibernate("still")
copies = []
for lazy in (False, True):
    copy = await Machine.wake("still", lazy=lazy, fork=True, show=False)
    told[f"state {lazy}"] = copy.state
    copies.append(copy)
    if not lazy:
        told["after"] = memory(copy)
        told["differs"] = sorted(path for path, data in fields(copy).items() if data != before[path])
# The same interrupt line and time in both: the supervisor runs the hart itself.
for copy in copies:
    # The one thing in which two that woke differ on purpose:
    structures.set_generation(copy._core, bytes(16))
    copy._core.call("hart_run", 0, 3_000_000, CONSTANTS["RUN_STEER"] | CONSTANTS["RUN_EXACT"])
told["ran"] = copies[0].harts[0].instret > 3_000_000
full, lazily = [fields(copy) for copy in copies]
told["unequal"] = sorted(path for path in full if full[path] != lazily[path])
told["full"], told["lazy"] = [memory(copy) for copy in copies]
for copy in copies:
    await copy.close()
""" + END


def test_digests_agree(tmp_path: Path) -> None:
    told = run_in_node(SAME, tmp_path)
    assert told["state False"] == told["state True"] == "paused"
    assert told["before"] == told["after"], "a full wake is the machine that slept"
    # But for what tells the guest that it woke: the interrupt of vmgenid, and doorbells rung once more.
    on_purpose = r"Hart\.0\.mip|Machine\.plic\.(level|pending)|Machine\.virtio\.\d+\.queue\.\d\.notified"
    assert [path for path in told["differs"] if not re.fullmatch(on_purpose, path)] == []
    assert told["ran"] is True
    doorbells = r"Machine\.virtio\.\d+\.queue\.\d\.notified"  # Python's side may have looked at one already
    assert [path for path in told["unequal"] if not re.fullmatch(doorbells, path)] == []
    assert told["full"] == told["lazy"], "lazy and full wakes agree after 3 million instructions"



# Requests end in Python while memory is on its way to the store.
EXACT = PRELUDE + """
from hartwell.devices.rng import RngDevice

machine = await Machine.boot(harts=1, show=False)
await machine.console.expect(r"# $", timeout=400)
# The guest finds the device behind its first prompt.
await machine.run("until [ $(head -c 1 /dev/hwrng | wc -c) = 1 ]; do sleep 0.1; done", timeout=240)
rng = next(device for device in machine._devices if isinstance(device, RngDevice))
ended, end, asked = 0, asyncio.Event(), asyncio.Event()

async def later(chain):
    global ended
    asked.set()
    await end.wait()
    chain.write(bytes(min(chain.writable, 4096)))
    chain.complete()
    ended += 1

rng.on_request = lambda queue, chain: asyncio.ensure_future(later(chain))
type(rng).busy = property(lambda self: False)  # nobody waits for it
machine.console.write("cat /dev/hwrng > /dev/null &\\n")
await asyncio.wait_for(asked.wait(), 240)
store = platform.current().store
save = store.save

async def slow(core, *rest, **named):
    end.set()
    await asyncio.sleep(0.1)
    told["ended in the pause"] = ended > 0
    return await save(core, *rest, **named)

store.save = slow
machine.pause()
await machine.checkpoint("exact")
store.save = save

def queues(machine):
    "Of each live queue: what the device thinks it gave back, and what memory says."
    for slot in range(16):
        for queue in range(4):
            value = lambda name: int.from_bytes(machine._core.read(
                (at := field("Machine.virtio.queue." + name, slot, queue)).offset, at.size), "little")
            if value("ready"):
                yield [slot, queue, value("used_index"), int.from_bytes(machine.memory.read(value("used") + 2, 2), "little")]

begun_again = []  # not before the queues were looked at
RngDevice.on_woken = lambda self, queue, chain: begun_again.append((self, queue, chain))
copy = await Machine.wake("exact", fork=True, lazy=False, show=False)
told["unequal"] = [found for found in queues(copy) if found[2] != found[3]]
told["queues"] = len(list(queues(copy)))
told["begun again"] = len(begun_again)
for device, queue, chain in begun_again:
    device.on_request(queue, chain)
copy.resume()
told["goes on"] = (await copy.run("head -c 100 /dev/hwrng | wc -c", timeout=240)).stdout
await copy.close()
machine.resume()
told["the other too"] = (await machine.run("head -c 100 /dev/hwrng | wc -c", timeout=240)).stdout
await machine.close()
""" + END


def test_a_checkpoint_is_one_moment(tmp_path: Path) -> None:
    told = run_in_node(EXACT, tmp_path)
    assert told.pop("queues") >= 4
    assert told == {"ended in the pause": True, "begun again": 1, "unequal": [], "goes on": "100\n", "the other too": "100\n"}


WISHES = PRELUDE + """
machine = await Machine.boot(show=False)
await machine.console.expect(r"# $", timeout=400)
store = platform.current().store
save = store.save

def while_it_stands(work):
    "Has work() called in the midst of the next checkpoint, when the machine stands still for it."
    async def saves(*arguments, **more):
        if machine._saver._stands:
            work()
            told.setdefault("stood", []).append(machine._core.load(field("Machine.running_harts").offset))
        return await save(*arguments, **more)
    store.save = saves

saving = asyncio.ensure_future(machine.checkpoint("desk"))
while not machine._saver.busy.locked():
    await asyncio.sleep(0)
machine.pause()  # it has begun, and still stores what changed while the guest runs
await saving
told["paused before"] = machine.state
machine.resume()
while_it_stands(machine.pause)
await machine.checkpoint()
told["paused in it"] = machine.state
while_it_stands(machine.resume)
await machine.checkpoint()
told["resumed in it"] = machine.state
store.save = save
await machine.checkpoint()
told["as it was"] = machine.state
told["works"] = (await machine.run("echo yes")).stdout
await machine.close()
""" + END


def test_a_pause_while_it_is_saved_stays_one(tmp_path: Path) -> None:
    """The machine stands still for a snapshot, too; who pauses or resumes it then is heard afterwards."""
    told = run_in_node(WISHES, tmp_path)
    assert told == {
        "paused before": "paused", "paused in it": "paused", "resumed in it": "running", "as it was": "running",
        "stood": [0, 0], "works": "yes\n",
    }


LEARNS = PRELUDE + """
machine = await Machine.boot(show=False)
await machine.console.expect(r"# $", timeout=400)
await machine.hibernate("desk")
for learn in (0, 5):
    platform.current().store.learn_seconds = learn
    copy = await Machine.wake("desk", fork=True, show=False)
    told[f"works {learn}"] = (await copy.run("ls / >/dev/null; echo yes", timeout=240)).stdout
    await asyncio.wait([copy._saver.stream])
    told[f"touched {learn}"] = len(copy._saver.order)
    await copy.close()
""" + END


def test_what_a_wake_touches_is_learnt(tmp_path: Path) -> None:
    """Where memory comes by itself few of its chunks are waited for; all that are touched, where it does not."""
    told = run_in_node(LEARNS, tmp_path)
    assert (told["works 0"], told["works 5"]) == ("yes\n", "yes\n")
    assert told["touched 5"] > told["touched 0"]
