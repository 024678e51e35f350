"""Storing tasks in memory: once, whatever is asked for twice, and all of a request or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.adapters.memory.batches import require_open
from taskscheduler.domain.audit import Action
from taskscheduler.domain.conflict import changes, gives_way, replaced
from taskscheduler.domain.errors import TaskExists
from taskscheduler.domain.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.adapters.memory.followers import MemoryFollowers
    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId


def insert(state: State, followers: MemoryFollowers, tasks: Sequence[NewTask]) -> Sequence[TaskId]:
    """Store ``tasks`` in ``state``; return their ids, or those of whoever holds their keys."""
    request = _Request(state, followers)
    tasks = list(tasks)  # to look at one may be what makes all
    ids = [request.take(new) for new in tasks]
    known_as = {new.id: task_id for new, task_id in zip(tasks, ids, strict=True)}
    followers.require_known(tasks, known_as)
    require_open(state, request.created)
    request.commit(known_as)
    return ids


class _Request:
    """What a request comes to, of which nothing is seen before its end."""

    def __init__(self, state: State, followers: MemoryFollowers) -> None:
        self._state = state
        self._followers = followers
        self._now = state.now()
        self._written: dict[TaskId, Task] = {}
        self._keys: dict[tuple[str, str], TaskId] = {}
        self._done: list[tuple[NewTask, TaskId, Action]] = []

    @property
    def created(self) -> list[NewTask]:
        """Those that are stored by it, for the first time."""
        return [new for new, _, action in self._done if action is Action.CREATED]

    def take(self, new: NewTask) -> TaskId:
        """Return the id of what answers for ``new``. Raises TaskExists."""
        stored = self._found(new.id)
        if stored is not None:
            if not new.describes(stored):
                raise TaskExists(new.id)
            if new.id not in self._written:
                self._followers.require_same(new)
            return new.id
        if new.unique_key is not None:
            name = (new.kind, new.unique_key)
            holder = self._holder_of(name)
            if holder is not None and not changes(new):
                return holder
            held = None if holder is None else self._found(holder)
            if held is not None and gives_way(held, new):
                self._written[held.id] = replaced(held, new, now=self._now)
                self._keys[name] = held.id
                self._done.append((new, held.id, Action.CHANGED))
                return held.id
            self._keys[name] = new.id
        self._written[new.id] = Task.store(new, now=self._now)
        self._done.append((new, new.id, Action.CREATED))
        return new.id

    def commit(self, known_as: Mapping[TaskId, TaskId]) -> None:
        """Let all of it be seen; tasks come after others by the ids that answer for those."""
        for task in self._written.values():
            self._state.save(task)
        for new, task_id, action in self._done:
            self._state.tell(new.by, action, task_id=task_id)
            if new.trace is not None and action is Action.CREATED:
                self._state.traces[task_id] = new.trace
        for name, task_id in self._keys.items():
            self._state.unique[name] = (task_id, self._now + self._state.unique_for)
        for new, task_id, action in self._done:
            if new.batch is not None and action is Action.CREATED:
                self._state.batches[new.batch].members[task_id] = None
                self._state.batch_of[task_id] = new.batch
            if new.after is not None and action is Action.CREATED:
                self._followers.follow(task_id, new.after.known_as(known_as))

    def _found(self, task_id: TaskId) -> Task | None:
        return self._written.get(task_id) or self._state.tasks.get(task_id)

    def _holder_of(self, name: tuple[str, str]) -> TaskId | None:
        if name in self._keys:
            return self._keys[name]
        holder, expires_at = self._state.unique.get(name, (None, self._now))
        return holder if expires_at > self._now else None
