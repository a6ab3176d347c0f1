"""For all tests."""

from __future__ import annotations

import os

import hypothesis

# Whatever image this checkout's pages boot, and without preparing another one.
os.environ.setdefault("HARTWELL_IMAGE", "shell")

# How long an example takes depends on who else uses the computer; no test asserts times.
hypothesis.settings.register_profile(
    "hartwell", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hartwell")
