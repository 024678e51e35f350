"""How much a key may keep in the store, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass, fields

from taskscheduler.domain.errors import InvalidKey

BIGGEST = 2**53
"""The largest quota: all of JSON's readers keep such a number whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that the queues which a key reaches may hold; None: as much as there is room for.

    ``queues`` that hold tasks, ended ones included. ``waiting`` tasks: Pending ones, due or not.
    ``waiting_bytes`` of their payloads, as they are kept. ``schedules`` whose queue is in reach.

    Raises:
        InvalidKey: a number makes no sense.
    """

    queues: int | None = None
    waiting: int | None = None
    waiting_bytes: int | None = None
    schedules: int | None = None

    def __post_init__(self) -> None:
        """Check each number."""
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and (
                isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= BIGGEST
            ):
                name = f"{field.name}_max"
                raise InvalidKey(name, f"must be a whole number from 0 to {BIGGEST}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the queues of one prefix hold. Of more than was asked for it tells no more than one."""

    queues: frozenset[str]
    waiting: int
    waiting_bytes: int
    schedules: int
