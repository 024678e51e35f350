"""What the contract suites do over and over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.lease import AttemptError, Lease, Settlement
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import QUEUE_DEFAULT
from taskscheduler.domain.worker import Subscription, WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId, WorkerId

LEASE: Final = timedelta(seconds=30)
TICK: Final = timedelta(microseconds=1)
ERROR: Final = AttemptError("ValueError", "no such address", "Traceback …\nValueError: …")
PATIENCE_S: Final = 20.0
"""How long to wait for what must happen; only a failing test waits as long."""


class Contract:
    """What all suites share: their tests are coroutines, run by anyio's pytest plugin."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"


def new(store: Store, kind: str = "mail", **fields: Any) -> NewTask:
    """Return a task to be stored, with a new id."""
    return NewTask(id=store.new_task_id(), kind=kind, **fields)


async def put(store: Store, kind: str = "mail", **fields: Any) -> TaskId:
    """Store one task; return its id."""
    return (await store.tasks.put([new(store, kind, **fields)]))[0]


def subscribed(*kinds: str, queues: Iterable[str] = (QUEUE_DEFAULT,)) -> Subscription:
    """Return a subscription to ``kinds``, by default to ``mail``."""
    return Subscription(queues=frozenset(queues), kinds=frozenset(kinds or ("mail",)))


async def join(
    store: Store,
    *kinds: str,
    attempts: int = 3,
    lease: timedelta = LEASE,
    queues: Iterable[str] = (QUEUE_DEFAULT,),
) -> WorkerId:
    """Register a worker, whose policy grants ``attempts`` for each of its kinds."""
    profile = WorkerProfile(
        name="worker of a test",
        queues=frozenset(queues),
        kinds=dict.fromkeys(kinds or ("mail",), attempts),
        concurrency=5,
        lease=lease,
    )
    return await store.workers.register(profile)


async def claim(
    store: Store, worker_id: WorkerId, *kinds: str, limit: int = 100
) -> Sequence[Lease]:
    """Claim from the default queue."""
    return await store.tasks.claim(worker_id, subscribed(*kinds), limit)


async def lease_one(store: Store, **fields: Any) -> Lease:
    """Store one task of kind ``mail`` and claim it for a new worker; return the lease."""
    worker_id = await join(store)
    task_id = await put(store, **fields)
    leases = await claim(store, worker_id)
    (found,) = [lease for lease in leases if lease.task_id == task_id]
    return found


async def lease_again(store: Store, worker_id: WorkerId) -> Lease:
    """Claim the only task that is due."""
    (found,) = await claim(store, worker_id)
    return found


def outcome(
    lease: Lease,
    event: Event = Event.COMPLETE,
    *,
    delay: timedelta = timedelta(0),
    error: AttemptError | None = None,
) -> Settlement:
    """Return the settlement of ``lease``."""
    return Settlement(lease.task_id, lease.token, event, delay, error)


async def end(store: Store, lease: Lease, event: Event = Event.COMPLETE, **fields: Any) -> None:
    """Settle ``lease``, which must hold."""
    assert set(await store.tasks.settle([outcome(lease, event, **fields)])) == set()


async def bring(store: Store, status: TaskStatus, **fields: Any) -> TaskId:
    """Store one task of kind ``mail`` and bring it to ``status``."""
    if status is TaskStatus.PENDING:
        return await put(store, **fields)
    lease = await lease_one(store, **fields)
    match status:
        case TaskStatus.COMPLETED:
            await end(store, lease)
        case TaskStatus.FAILED:
            await end(store, lease, Event.FAIL, error=ERROR)
        case TaskStatus.CANCELLED:
            await end(store, lease, Event.CANCEL, error=ERROR)
        case _:
            pass
    return lease.task_id


async def status_of(store: Store, task_id: TaskId) -> TaskStatus:
    """Return the task's status."""
    return (await store.tasks.get(task_id)).status


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until ``condition`` holds; fail when it takes too long."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a condition is not an event
            await asyncio.sleep(0.001)
