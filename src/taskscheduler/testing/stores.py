"""Stores for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.system import new_task_id
from taskscheduler.entrypoints.library import Scheduler
from taskscheduler.testing.clock import ManualClock

if TYPE_CHECKING:
    from taskscheduler.adapters.memory.store import StoreClock


def in_memory(clock: StoreClock | None = None) -> Scheduler:
    """Return a scheduler on a new in-memory store, by default under a ``ManualClock``."""
    return Scheduler(memory_store(clock or ManualClock(), new_task_id))
