"""Limits in memory, and the turns of groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import LimitChanged, LimitNotFound
from taskscheduler.domain.limit import (
    LOOK_AGAIN,
    LimitUse,
    Reached,
    StoredLimit,
    after,
    carried,
    granted,
    opens_at,
    weight_of,
)
from taskscheduler.domain.queue import COUNT_MAX
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from taskscheduler.adapters.memory.state import Lane, State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.limit import Limit
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.worker import Subscription

HOLDERS_MAX = 10


class MemoryLimits:
    """``LimitRepository`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def put(
        self, limit: Limit, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> tuple[StoredLimit, bool]:
        """See ``LimitRepository.put``."""
        now, old = self._state.now(), self._state.limits.get(limit.name)
        if expected is not None:
            self._require(limit.name, expected)
        if old is None:
            kept = StoredLimit(definition=limit, revision=1, created_at=now, changed_at=now)
            self._state.tell(by, Action.LIMIT_ADDED, target=limit.name)
        elif old.definition == limit:
            return old, False
        else:
            kept = replace(old, definition=limit, revision=old.revision + 1, changed_at=now)
            self._state.tell(by, Action.LIMIT_CHANGED, target=limit.name)
            if old.definition.selectors != limit.selectors:
                self._forget(limit.name)
            self._carry(limit)
        self._state.limits[limit.name] = kept
        return kept, old is None

    async def get(self, name: str) -> StoredLimit:
        """See ``LimitRepository.get``."""
        if (found := self._state.limits.get(name)) is None:
            raise LimitNotFound(name)
        return found

    async def list(self, *, after: str = "", limit: int) -> Sequence[StoredLimit]:
        """See ``LimitRepository.list``."""
        found = sorted(self._state.limits.values(), key=lambda each: each.name)
        return [each for each in found if each.name > after][:limit]

    async def delete(
        self, name: str, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> None:
        """See ``LimitRepository.delete``."""
        await self.get(name)
        if expected is not None:
            self._require(name, expected)
        del self._state.limits[name]
        self._forget(name)
        self._state.tell(by, Action.LIMIT_DELETED, target=name)

    async def uses(self, names: Collection[str]) -> Mapping[str, LimitUse]:
        """See ``LimitRepository.uses``."""
        now = self._state.now()
        uses: dict[str, LimitUse] = {}
        for name in names:
            if (kept := self._state.limits.get(name)) is None:
                continue
            limit = kept.definition
            tasks = [
                task
                for task in self._state.tasks.values()
                if limit.fits(task.queue, task.kind, task.group)
            ]
            running = sum(task.status is TaskStatus.IN_PROGRESS for task in tasks)
            waiting = sum(
                task.status is TaskStatus.PENDING and task.process_at <= now for task in tasks
            )
            free_at = self._state.free_at.get((name, ""))
            uses[name] = LimitUse(
                min(running, COUNT_MAX),
                min(waiting, COUNT_MAX),
                None if limit.per_group else opens_at(limit, free_at=free_at, now=now),
            )
        return uses

    async def reached_by(self, task: Task) -> Sequence[Reached]:
        """See ``LimitRepository.reached_by``."""
        now, found = self._state.now(), list[Reached]()
        for limit in gates_of(self._state, task):
            key = limit.key_of(task.group)
            holders = running_under(self._state, limit, key)
            if limit.concurrency is not None and len(holders) >= limit.concurrency:
                ids = [each.id for each in holders[:HOLDERS_MAX]]
                found.append(Reached(limit.name, len(holders), None, ids))
            free_at = self._state.free_at.get((limit.name, key))
            if (until := opens_at(limit, free_at=free_at, now=now)) is not None:
                found.append(Reached(limit.name, len(holders), until))
        return sorted(found, key=lambda each: each.limit)

    def _require(self, name: str, expected: StoredLimit) -> None:
        if (kept := self._state.limits.get(name)) is None:
            raise LimitNotFound(name)
        if kept != expected:
            raise LimitChanged(name)

    def _carry(self, limit: Limit) -> None:
        for gate in [gate for gate in self._state.free_at if gate[0] == limit.name]:
            moment = carried(limit, free_at=self._state.free_at.pop(gate), now=self._state.now())
            if moment is not None:
                self._state.free_at[gate] = moment

    def _forget(self, name: str) -> None:
        for gate in [gate for gate in self._state.free_at if gate[0] == name]:
            del self._state.free_at[gate]


def gates_of(state: State, task: Task) -> Iterator[Limit]:
    """Yield the limits that may keep such a task from beginning."""
    for kept in state.limits.values():
        limit = kept.definition
        if limit.is_gate and limit.fits(task.queue, task.kind, task.group):
            yield limit


def running_under(state: State, limit: Limit, key: str) -> list[Task]:
    """Return the tasks that run under the limit of a key."""
    return [
        task
        for task in state.tasks.values()
        if task.status is TaskStatus.IN_PROGRESS
        and limit.fits(task.queue, task.kind, task.group)
        and limit.key_of(task.group) == key
    ]


def opens_for(state: State, task: Task) -> datetime | None:
    """Return when to look again whether limits let ``task`` begin; None: they do so now."""
    now = state.now()
    moments: list[datetime] = []
    for limit in gates_of(state, task):
        key = limit.key_of(task.group)
        if (
            limit.concurrency is not None
            and len(running_under(state, limit, key)) >= limit.concurrency
        ):
            moments.append(now + LOOK_AGAIN)
        free_at = state.free_at.get((limit.name, key))
        if granted(limit, free_at=free_at, now=now) <= 0:
            moments.append(opens_at(limit, free_at=free_at, now=now) or now)
    return max(moments, default=None)


def begin_under_limits(state: State, task: Task) -> None:
    """Take it that ``task`` begins: rates have let one more through."""
    for limit in gates_of(state, task):
        gate = (limit.name, limit.key_of(task.group))
        moment = after(limit, 1, free_at=state.free_at.get(gate), now=state.now())
        if moment is not None:
            state.free_at[gate] = moment


def due_in_turns(state: State, subscription: Subscription) -> Iterator[Task]:
    """Yield the due tasks that limits let begin, groups in turns; each must be changed."""
    while True:
        heads = [
            (lane, head)
            for lane, head in state.heads(subscription)
            if head.process_at <= state.now() and opens_for(state, head) is None
        ]
        if not heads:
            return
        urgent = [each for each in heads if each[0].priority == heads[0][0].priority]
        weights = weights_of(state, urgent)
        if weights is None:
            yield urgent[0][1]
            continue
        turns = state.turns[urgent[0][0].priority]
        turns.go_on(weights)
        (next_lane,) = turns.share(weights, 1)
        turns.took(next_lane, 1, weights[next_lane])
        yield dict(urgent)[next_lane]


def weights_of(state: State, heads: Sequence[tuple[Lane, Task]]) -> dict[Lane, float] | None:
    """Return how much each lane gets; None where no queue has more than one group that waits."""
    of_group = Counter((lane.queue, lane.group) for lane, _ in heads)
    if len(of_group) == len({queue for queue, _ in of_group}):
        return None
    limits = [each.definition for each in state.limits.values()]
    return {
        lane: weight_of(limits, head) / of_group[lane.queue, lane.group] for lane, head in heads
    }


def waits_for(state: State, subscription: Subscription) -> timedelta | None:
    """Return how long until a task is due that limits let begin, as far as is known."""
    moments = [opens_for_head(state, head) for _, head in state.heads(subscription)]
    return min(moments) - state.now() if moments else None


def opens_for_head(state: State, head: Task) -> datetime:
    """Return when ``head`` may begin, as far as is known."""
    opens = opens_for(state, head) if head.process_at <= state.now() else None
    return opens or head.process_at


def are_held_back(state: State, subscription: Subscription) -> bool:
    """Tell whether tasks are due, and limits let none of them begin."""
    due = [head for _, head in state.heads(subscription) if head.process_at <= state.now()]
    return bool(due) and all(opens_for(state, head) is not None for head in due)
