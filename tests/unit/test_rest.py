"""How long the supervisor waits for harts that are to stand still, on a computer that is slow or was asleep."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from hartwell import machine as machines
from hartwell.debugger.control import HOLD_SECONDS, Control
from hartwell.errors import HartwellError
from hartwell.harts import Hart
from hartwell.layout import field
from hartwell.machine import Machine
from hartwell.snapshot import wake
from tests.unit import fake


class Slow(fake.Core):
    """A hart that runs until the supervisor has waited for it for so many seconds; the clock is theirs."""

    needs = 0.0
    waited = 0.0

    def block(self, offset: int, value: int, timeout: float) -> bool:
        if self.load(offset) != value:
            return True
        self.waited += timeout
        if self.waited >= self.needs:
            self.store(offset, 0)
        return self.load(offset) != value


def core(needs: float, word: str) -> Slow:
    made = Slow(fake.make_core().plan)
    made.needs = needs
    made.store(field(word, *([0] if word.startswith("Hart") else [])).offset, 1)
    return made


def hold(core: Slow) -> None:
    Control(core, lambda: None, lambda: None).hold(0)


def suspend(core: Slow) -> None:
    Hart(core, 0, lambda: True).suspend()


def halt(core: Slow) -> None:
    Machine._halt(SimpleNamespace(history=None, _core=core))  # type: ignore[arg-type]


WAYS = pytest.mark.parametrize(
    ("rest", "word"), [(hold, "Hart.active"), (suspend, "Hart.active"), (halt, "Machine.running_harts")])


@WAYS
def test_a_hart_has_seconds_to_come_to_rest(rest, word: str) -> None:  # type: ignore[no-untyped-def]
    slow = core(0.8 * HOLD_SECONDS, word)
    rest(slow)
    assert slow.waited >= slow.needs


@WAYS
def test_but_not_for_ever(rest, word: str) -> None:  # type: ignore[no-untyped-def]
    slow = core(1000, word)
    with pytest.raises(HartwellError, match="did not come to rest"):
        rest(slow)
    assert slow.called[-1][0] in ("debug_hold", "machine_resume")


def test_time_in_which_nothing_ran_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the whole page was frozen in the midst of a pause."""
    clock = iter(range(0, 1_000_000, 1000))
    monkeypatch.setattr(machines, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    slow = core(0.25, "Machine.running_harts")
    halt(slow)
    assert slow.waited >= slow.needs


@pytest.mark.parametrize(("takes", "times"), [([0.1], 1), ([9.0, 4.0, 0.5], 3), ([9.0] * 9, wake.CLOCK_TRIES)])
async def test_a_guest_that_was_slow_to_set_its_clock_sets_it_again(
    monkeypatch: pytest.MonkeyPatch, takes: list[float], times: int
) -> None:
    now = 1000.0
    told: list[float] = []

    class Agent:
        present = True

        async def run(self, command: str, timeout: float) -> None:
            nonlocal now
            told.append(float(command.split("@")[1].split()[0]))
            now += takes.pop(0)

    monkeypatch.setattr(wake, "time", SimpleNamespace(monotonic=lambda: now, time=lambda: now))
    machine = SimpleNamespace(state="running", _saver=SimpleNamespace(asleep_seconds=60.0), _agent=Agent())
    began = now
    await wake._set_clock(machine)  # type: ignore[arg-type]
    assert len(told) == times and told[0] == began and told == sorted(told)
