"""For all tests."""

from __future__ import annotations

import os

import hypothesis
import pytest

# Whatever image this checkout's pages boot, and without preparing another one.
os.environ.setdefault("HARTWELL_IMAGE", "shell")

# How long an example takes depends on who else uses the computer; no test asserts times.
hypothesis.settings.register_profile(
    "hartwell", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hartwell")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow takes as long as whoever asked for it wants."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))
