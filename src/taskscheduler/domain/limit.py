"""Limits: how many tasks of some queue, kind or group run, and how fast they begin."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Self, cast

from taskscheduler.domain.errors import InvalidLimit
from taskscheduler.domain.values import GROUP, GROUP_FORM, NAME, NAME_FORM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId

MOST: Final = 1_000_000
"""The most that a limit may grant: tasks that run, tasks in a period, tasks at once."""
WEIGHT_MAX: Final = 100
RATE: Final = re.compile(r"([1-9][0-9]{0,6})/([smhd])")
RATE_FORM: Final = "such as 100/s: a whole number, and /s, /m, /h or /d"
PERIODS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BURST_S: Final = 0.1
"""What a rate grants in so long may begin at once, where no burst is given: nobody claims at the
very moment when the next may begin."""
LOOK_AGAIN: Final = timedelta(milliseconds=500)
"""How often somebody looks who waits for a running task to end."""


class Rate(NamedTuple):
    """So many in a period, of so many seconds."""

    number: int
    period_s: int

    @property
    def step(self) -> timedelta:
        """How long one of them takes."""
        return timedelta(seconds=self.period_s / self.number)

    @property
    def burst(self) -> int:
        """How many may begin at once where nothing is said of that."""
        return max(1, math.ceil(self.number * BURST_S / self.period_s))

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the rate that ``text`` is. Raises InvalidLimit."""
        found = RATE.fullmatch(text) if isinstance(text, str) else None
        if found is None or int(found[1]) > MOST:
            raise InvalidLimit("rate", f"must be {RATE_FORM}, up to {MOST}")
        return cls(int(found[1]), PERIODS_S[found[2]])

    def __str__(self) -> str:
        """Return it as it is written."""
        (unit,) = [name for name, seconds in PERIODS_S.items() if seconds == self.period_s]
        return f"{self.number}/{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit as its author asks for it.

    It holds for the tasks of ``queue``, ``kind`` and ``group``, as far as those are given; without
    any of them, for all. With ``per_group`` each group has a limit of its own, and so have the
    tasks without a group, together. At most ``concurrency`` run at any moment. They begin at
    ``rate``, such as ``100/s`` (or ``/m``, ``/h``, ``/d``), up to ``burst`` at once; retries count.
    Groups take turns by ``weight``, 1 to 100.

    Raises:
        InvalidLimit: a field cannot be kept.
    """

    name: str
    queue: str | None = None
    kind: str | None = None
    group: str | None = None
    per_group: bool = False
    concurrency: int | None = None
    rate: str | None = None
    burst: int | None = None
    weight: int | None = None

    def __post_init__(self) -> None:
        """Check each field."""
        _require_name("name", self.name)
        if not self.name.strip("."):
            raise InvalidLimit("name", "must not be only dots")
        for field in ("queue", "kind"):
            if (name := getattr(self, field)) is not None:
                _require_name(field, name)
        self._check_group()
        for field, most in (("concurrency", MOST), ("burst", MOST), ("weight", WEIGHT_MAX)):
            _require_count(field, getattr(self, field), most)
        if self.rate is not None:
            Rate.parse(self.rate)
        elif self.burst is not None:
            raise InvalidLimit("burst", "goes with a rate")
        if self.concurrency is None and self.rate is None and self.weight is None:
            raise InvalidLimit("concurrency", "give at least one of concurrency, rate, weight")

    def _check_group(self) -> None:
        group = cast("object", self.group)  # not every caller is checked
        if group is not None and (not isinstance(group, str) or GROUP.fullmatch(group) is None):
            raise InvalidLimit("group", f"must be {GROUP_FORM}")
        if type(self.per_group) is not bool:
            raise InvalidLimit("per_group", "must be true or false")
        if self.per_group and group is not None:
            raise InvalidLimit("per_group", "is for all groups: leave it out where one is named")

    @property
    def pace(self) -> Rate | None:
        """The rate, understood."""
        return None if self.rate is None else Rate.parse(self.rate)

    @property
    def at_once(self) -> int | None:
        """How many may begin at once, given or not; None without a rate."""
        pace = self.pace
        return None if pace is None else self.burst or pace.burst

    @property
    def selectors(self) -> tuple[str | None, str | None, str | None, bool]:
        """All that decides which tasks it holds for, and which of them together."""
        return (self.queue, self.kind, self.group, self.per_group)

    @property
    def is_gate(self) -> bool:
        """Whether it can keep a task from beginning."""
        return self.concurrency is not None or self.rate is not None

    def fits(self, queue: str, kind: str, group: str | None) -> bool:
        """Tell whether it holds for such tasks."""
        return (
            self.queue in {None, queue}
            and self.kind in {None, kind}
            and (self.group is None or self.group == group)
        )

    def key_of(self, group: str | None) -> str:
        """Return what tells those apart that have a limit of their own: the group, or nothing."""
        return (group or "") if self.per_group else ""

    def but(self, **changes: object) -> Limit:
        """Return a copy with ``changes``, which are checked. Raises InvalidLimit."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLimit:
    """A limit as it is kept. ``revision`` grows with every change."""

    definition: Limit
    revision: int
    created_at: datetime
    changed_at: datetime

    @property
    def name(self) -> str:
        """What it is called."""
        return self.definition.name


class LimitUse(NamedTuple):
    """How a limit is used: tasks that run under it, and that are due and have not begun.

    Up to ``domain.queue.COUNT_MAX`` are counted. ``next_at`` is when its rate lets the next one
    begin; None: now, or it has none, or one for each group.
    """

    running: int
    waiting: int
    next_at: datetime | None = None


class Reached(NamedTuple):
    """What keeps a task from beginning: a limit, and how many run under it.

    ``until`` is when its rate lets the next begin, and None where its concurrency is used up;
    ``holders`` are some of the tasks that run.
    """

    limit: str
    running: int
    until: datetime | None
    holders: Sequence[TaskId] = ()


def weight_of(limits: Sequence[Limit], task: Task) -> int:
    """Return how much a task's group gets beside others: by the limit that names most."""
    fitting = [
        limit
        for limit in limits
        if limit.weight is not None and limit.fits(task.queue, task.kind, task.group)
    ]
    if not fitting:
        return 1
    best = min(
        fitting,
        key=lambda each: (each.group is None, each.queue is None, each.kind is None, each.name),
    )
    return best.weight or 1


def granted(limit: Limit, *, free_at: datetime | None, now: datetime) -> int:
    """Return how many the rate of ``limit`` lets begin now; GCRA.

    ``free_at`` is when all that it grants is granted again: its theoretical arrival time.
    """
    pace, at_once = limit.pace, limit.at_once
    if pace is None or at_once is None:
        return MOST
    ahead = _ahead(free_at, now)
    return max(0, at_once - math.ceil(ahead / pace.step))


def opens_at(limit: Limit, *, free_at: datetime | None, now: datetime) -> datetime | None:
    """Return when the rate of ``limit`` lets the next one begin; None: now."""
    pace, at_once = limit.pace, limit.at_once
    if pace is None or at_once is None or free_at is None:
        return None
    moment = now + _ahead(free_at, now) - (at_once - 1) * pace.step
    return moment if moment > now else None


def after(limit: Limit, number: int, *, free_at: datetime | None, now: datetime) -> datetime | None:
    """Return ``free_at`` once ``number`` more have begun."""
    pace = limit.pace
    if pace is None:
        return free_at
    return now + _ahead(free_at, now) + span_of(pace, number)


def carried(limit: Limit, *, free_at: datetime, now: datetime) -> datetime | None:
    """Return ``free_at`` once ``limit`` has come in place of another: at most a burst is taken."""
    pace, at_once = limit.pace, limit.at_once
    if pace is None or at_once is None:
        return None
    return min(free_at, now + span_of(pace, at_once))


def _ahead(free_at: datetime | None, now: datetime) -> timedelta:
    """Return how much of what the rate grants is taken."""
    return timedelta(0) if free_at is None else max(free_at - now, timedelta(0))


def span_of(pace: Rate, number: int) -> timedelta:
    """Return how long it takes to grant so many, rounded up."""
    return timedelta(microseconds=math.ceil(number * pace.period_s * 1_000_000 / pace.number))


def _require_name(field: str, text: object) -> None:
    if not isinstance(text, str) or NAME.fullmatch(text) is None:
        raise InvalidLimit(field, f"must be {NAME_FORM}")


def _require_count(field: str, value: object, most: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidLimit(field, f"must be a whole number, 1 to {most}")
