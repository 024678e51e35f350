"""Whatever is done to the in-memory store, it does what the model does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hypothesis import settings

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.system import new_task_id
from taskscheduler.testing import ManualClock
from tests.support.stateful import RepositoryMachine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.store import Store


class MemoryMachine(RepositoryMachine):
    """The machine on memory."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[tuple[Store, ManualClock]]:
        """Make a store."""
        clock = ManualClock()
        yield memory_store(clock, new_task_id), clock


TestMachine = MemoryMachine.TestCase
TestMachine.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, derandomize=True
)
