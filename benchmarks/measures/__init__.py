"""What can be measured, by name: ``python -m benchmarks --only NAME,NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.measures import (
    backlog,
    drain,
    http,
    latency,
    lookup,
    memory,
    schedule,
    startup,
    sustained,
    wakeups,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.bench import Bench


@dataclass(frozen=True, slots=True)
class Measure:
    """One of them."""

    run: Callable[[Bench], Awaitable[None]]
    once: bool = False
    """Whether one round is enough: it repeats itself, or takes very long."""
    by_default: bool = True


MEASURES: Final = {
    "drain": Measure(drain.measure),
    "schedule": Measure(schedule.measure),
    "latency": Measure(latency.measure),
    "http": Measure(http.measure),
    "startup": Measure(startup.measure),
    "backlog": Measure(backlog.measure, once=True),
    "lookup": Measure(lookup.measure, once=True),
    "sustained": Measure(sustained.measure, once=True, by_default=False),
    "memory": Measure(memory.measure, once=True, by_default=False),
    "wakeups": Measure(wakeups.measure, by_default=False),
}
