"""`hartwell image kernel`: what follows the build."""

from __future__ import annotations

from typing import Any

import pytest

from hartwell import cli
from hartwell.errors import HartwellError
from hartwell.setup import commands, kernel


def test_an_own_kernel_is_booted_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(kernel, "build", lambda mirror, jobs, debug_info: done.append((mirror, jobs, debug_info)))
    monkeypatch.setattr(commands, "boot_ahead", lambda name, runner: done.append(name))
    assert cli.main(["image", "kernel", "--jobs", "3", "--debug-info"]) == 0
    assert done == [(None, 3, True), kernel.NAME]


def test_a_build_that_fails_boots_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise HartwellError("no compiler")

    monkeypatch.setattr(kernel, "build", build)
    monkeypatch.setattr(commands, "boot_ahead", lambda name, runner: pytest.fail("booted"))
    assert cli.main(["image", "kernel"]) == 1
    assert "no compiler" in capsys.readouterr().err
