"""What can be measured, by name: ``python -m benchmarks --only NAME,NAME``."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from benchmarks.bench import Bench, Figure


@dataclass(frozen=True, slots=True)
class Measure:
    """One of them."""

    run: Callable[[Bench], Awaitable[None]]
    once: bool = False
    """Whether one round is enough: it repeats itself, or takes very long."""
    by_default: bool = True
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it needs of the server beside what all have."""
    tables: Callable[[Sequence[Figure]], list[str]] | None = None
    """Writes its figures as Markdown of its own, beside the table of all."""


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
    "wakeups": Measure(
        wakeups.measure, by_default=False, settings=wakeups.SETTINGS, tables=wakeups.tables
    ),
}
