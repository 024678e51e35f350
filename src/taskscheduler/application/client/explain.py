"""Why a task is not running, by looking at all that could keep it from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.lease import SUSPECT_AFTER
from taskscheduler.domain.queue import COUNT_MAX
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.why import Cause, Reason, Why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.after import Wait
    from taskscheduler.domain.queue import Count
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId
    from taskscheduler.domain.why import GroupTurn
    from taskscheduler.domain.worker import RegisteredWorker

RACES_MAX: Final = 5


async def explain(store: Store, task_id: TaskId, *, name_workers: bool = True) -> Why:
    """Return why the task is where it is; a worker's name tells of its machine.

    Raises:
        TaskNotFound: there is none.
    """
    for _ in range(RACES_MAX):
        task = await store.tasks.get(task_id)
        if task.status.is_final:
            return Why(task=task, causes=(_finished(task),))
        if task.status is TaskStatus.IN_PROGRESS:
            running = _running(task, await store.workers.registered(), named=name_workers)
            return Why(task=task, causes=(running,))
        causes = await _causes_of_waiting(store, task)
        if causes:
            return Why(task=task, causes=causes)
    message = "the task kept changing while it was looked at; try again"
    raise StoreUnavailable(message)


async def _causes_of_waiting(store: Store, task: Task) -> tuple[Cause, ...]:
    """Return why a Pending task waits; nothing if it is not Pending any more."""
    queue_position = await store.board.queue_position(task.id, COUNT_MAX)
    if queue_position is None:
        return ()
    causes: list[Cause] = []
    if not queue_position.is_due:
        causes.append(await _not_due(store, task))
    queue = await store.queues.get(task.queue)
    if queue.is_paused:
        detail = f"the queue {task.queue!r} is paused"
        causes.append(Cause(reason=Reason.QUEUE_PAUSED, detail=detail, since=queue.paused_at))
    if (missing := _missing(task, await store.workers.registered())) is not None:
        causes.append(Cause(reason=Reason.NO_WORKER, detail=missing))
    if causes:
        return tuple(causes)
    if task.excused >= SUSPECT_AFTER:
        return (_suspect(task),)
    if limited := await _limited(store, task):
        return limited
    turn = await store.board.group_turn(task.id, COUNT_MAX)
    if turn is not None and turn.has_rivals:
        return (_behind_others(task, turn, queue_position.before),)
    number, exact = queue_position.before
    detail = f"it is due; {number if exact else f'at least {number}'} of its queue come before it"
    return (
        Cause(
            reason=Reason.READY, detail=detail, since=task.process_at, before=queue_position.before
        ),
    )


async def _limited(store: Store, task: Task) -> tuple[Cause, ...]:
    """Return every limit that keeps a due task from beginning."""
    causes: list[Cause] = []
    for limit, running, until, holders in await store.limits.reached_by(task):
        if until is None:
            some = ", ".join(str(each) for each in holders)
            cause = Cause(
                reason=Reason.LIMIT_REACHED,
                detail=f"under the limit {limit!r} {running} run, as many as it lets run: {some}",
                limit=limit,
                running=running,
                task_ids=tuple(holders),
            )
        else:
            detail = f"the rate of the limit {limit!r} lets the next task begin later"
            cause = Cause(
                reason=Reason.RATE_LIMITED,
                detail=detail,
                until=until,
                limit=limit,
                running=running,
            )
        causes.append(cause)
    return tuple(causes)


def _behind_others(task: Task, turn: GroupTurn, before: Count) -> Cause:
    name = "tasks without a group" if task.group is None else f"the group {task.group!r}"
    return Cause(
        reason=Reason.BEHIND_OTHERS,
        detail=f"it is due; {turn.ahead} of {name} come before it, and groups take turns",
        since=task.process_at,
        before=before,
        group=task.group,
        ahead=turn.ahead,
    )


async def _not_due(store: Store, task: Task) -> Cause:
    if task.waits and (wait := await store.followers.wait(task.id)) is not None:
        return _waiting(wait)
    awaited = await store.notes.awaited(task.id)
    if awaited is not None and awaited.until == task.process_at:
        detail = f"its handler waits for the signal {awaited.name!r}"
        return Cause(reason=Reason.WAITING_FOR_SIGNAL, detail=detail, until=awaited.until)
    attempts = await store.board.attempts(task.id, limit=1)
    if attempts and attempts[-1].outcome is Event.RETRY:
        last = attempts[-1]
        error = "" if last.error is None else f" ({last.error.type}: {last.error.message})"
        return Cause(
            reason=Reason.WAITING_FOR_RETRY,
            detail=f"attempt {last.number} failed{error}; it is tried again later",
            until=task.process_at,
            since=last.finished_at,
        )
    return Cause(reason=Reason.NOT_DUE, detail="its time has not come", until=task.process_at)


def _waiting(wait: Wait) -> Cause:
    detail = f"it waits for {wait.left} of {wait.total} tasks to end"
    if wait.batch is not None:
        detail += f", those of the batch {wait.batch}, which must be sealed"
    if wait.failed is not None:
        detail += (
            f"; {wait.failed} has ended without success, and so it is held until somebody runs or "
            "cancels it, or that one is retried and succeeds"
        )
    return Cause(reason=Reason.WAITING_FOR, detail=detail, left=wait.left, task_ids=wait.task_ids)


def _missing(task: Task, workers: Sequence[RegisteredWorker]) -> str | None:
    """Say which worker is missing; None if one is there."""
    alive = [worker for worker in workers if not worker.expired]
    of_queue = [worker for worker in alive if task.queue in worker.queues]
    if not alive:
        return "no worker is alive"
    if not of_queue:
        return f"no live worker takes tasks from the queue {task.queue!r}"
    if not any(task.kind in worker.kinds for worker in of_queue):
        return f"no live worker of the queue {task.queue!r} has a handler for {task.kind!r}"
    return None


def _suspect(task: Task) -> Cause:
    detail = (
        f"it is due, but {task.excused} workers went down while it and others ran: it begins when "
        "a worker has nothing else in hand, beside nothing but others of which the same is true"
    )
    return Cause(reason=Reason.SUSPECT, detail=detail, since=task.process_at)


def _running(task: Task, workers: Sequence[RegisteredWorker], *, named: bool) -> Cause:
    holder = next((worker for worker in workers if worker.id == task.worker_id), None)
    name = f"worker {task.worker_id}" + (f" ({holder.name})" if holder and named else "")
    silent = "; it has fallen silent, and its tasks will be given to others"
    return Cause(
        reason=Reason.RUNNING,
        detail=f"{name} holds it" + (silent if holder and holder.expired else ""),
        since=task.started_at,
        worker_id=task.worker_id,
    )


def _finished(task: Task) -> Cause:
    detail = f"it is {task.status.value}"
    if task.status is TaskStatus.FAILED and task.started_at is None:
        detail += ": its time was up (expires_at) before an attempt could begin"
    return Cause(reason=Reason.FINISHED, detail=detail, since=task.finished_at)
