"""A pytest plugin, found by itself once the package is installed: what a first test needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

OURS = frozenset({"manual_clock", "scheduler_in_memory"})

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


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test with a fixture of ours where no other plugin does.

    anyio and pytest-asyncio run those that are marked for them, or all, as they are told to.
    """
    import asyncio  # noqa: PLC0415 - pytest starts faster
    import inspect  # noqa: PLC0415 - the same

    if (
        OURS.isdisjoint(pyfuncitem.fixturenames)
        or not inspect.iscoroutinefunction(pyfuncitem.obj)
        or any(pyfuncitem.get_closest_marker(name) for name in ("anyio", "asyncio", "trio"))
    ):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True
