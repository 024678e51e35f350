"""Helpers for tests: those of this package, and those of whoever builds on it."""

from __future__ import annotations

from taskscheduler.testing.assertions import assert_scheduled, refute_scheduled
from taskscheduler.testing.clock import ManualClock
from taskscheduler.testing.drain import Drained, drain
from taskscheduler.testing.stores import in_memory

__all__ = [
    "Drained",
    "ManualClock",
    "assert_scheduled",
    "drain",
    "in_memory",
    "refute_scheduled",
]
