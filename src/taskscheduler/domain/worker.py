"""A worker as the store knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from taskscheduler.domain.queue import Count
    from taskscheduler.domain.values import TaskId, WorkerId


AHEAD: Final = timedelta(seconds=1)


def has_expired(seen_at: datetime, lease: timedelta, now: datetime) -> bool:
    """Tell whether a beat at ``seen_at`` proves nothing at ``now`` any more.

    It is more than ``lease`` ago; or it lies in the future, because the store's clock was set back
    since, and would otherwise seem fresh for as long as that.
    """
    return seen_at + lease < now or seen_at > now + AHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a worker is ready to run: these kinds, from these queues.

    With ``suspects`` False those tasks are left out that were there when several workers went down
    (see ``domain/lease.py``); without it there is no difference between them and others.
    """

    queues: frozenset[str]
    kinds: frozenset[str]
    suspects: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProfile:
    """How a worker introduces itself.

    ``kinds`` maps each kind that it handles to the attempts which its retry policy grants.
    ``lease`` is how long the worker may stay silent before its tasks are given to others. ``host``
    and ``pid`` say where its process is, for people.
    """

    name: str
    queues: frozenset[str]
    kinds: Mapping[str, int]
    concurrency: int
    lease: timedelta
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorker:
    """A registered worker at one look.

    ``beats`` rises with every heartbeat. ``expired`` is what ``has_expired`` says of the last one
    on the store's clock. ``abandoned`` counts threads that still run an attempt which has ended
    without them.
    """

    id: WorkerId
    name: str
    queues: frozenset[str]
    kinds: frozenset[str]
    concurrency: int
    started_at: datetime
    seen_at: datetime
    lease: timedelta
    beats: int
    expired: bool
    host: str | None = None
    pid: int | None = None
    abandoned: int = 0


class WorkerLoad(NamedTuple):
    """A worker and how many tasks it holds."""

    worker: RegisteredWorker
    running: Count


class Cancellation(NamedTuple):
    """A lease that was taken away because its task was cancelled or deleted."""

    task_id: TaskId
    token: int
