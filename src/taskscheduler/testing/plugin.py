"""A pytest plugin, found by itself once the package is installed: fixtures for a first test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskscheduler.entrypoints.library import Scheduler
    from taskscheduler.testing.clock import ManualClock


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that moves only when it is told to."""
    from taskscheduler.testing.clock import ManualClock  # noqa: PLC0415 - pytest starts faster

    return ManualClock()


@pytest.fixture
def scheduler_in_memory(manual_clock: ManualClock) -> Scheduler:
    """A scheduler on a new in-memory store whose time is ``manual_clock``."""
    from taskscheduler.testing.stores import in_memory  # noqa: PLC0415 - pytest starts faster

    return in_memory(manual_clock)
