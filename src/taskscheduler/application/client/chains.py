"""Tasks one after another, and one after all others: what to hand to ``schedule_many``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.after import After
from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.domain.new_task import NewTask


def chain(
    *tasks: NewTask, when: str | None = None, otherwise: str | None = None
) -> Sequence[NewTask]:
    """Return ``tasks``, as ``Scheduler.prepare`` makes them, each to come after the one before.

    ``when`` and ``otherwise`` are as in ``schedule``. Raises InvalidTask: one of them, but for the
    first, comes after others already.
    """
    linked = list(tasks[:1])
    for task in tasks[1:]:
        linked.append(_after(task, linked[-1:], when, otherwise))
    return linked


class gather:  # noqa: N801 - it reads like a function, as ``asyncio.gather`` does
    """Tasks beside one another: ``gather(a, b, c).then(d)`` is all four, and ``d`` comes last.

    Up to 100; more make a batch.
    """

    def __init__(self, *tasks: NewTask) -> None:
        """Take what ``Scheduler.prepare`` makes."""
        self._tasks = tasks

    def then(
        self, task: NewTask, *, when: str | None = None, otherwise: str | None = None
    ) -> Sequence[NewTask]:
        """Return all of them, and ``task``, which comes after them. Raises InvalidTask."""
        return [*self._tasks, _after(task, self._tasks, when, otherwise)]


def _after(
    task: NewTask, others: Sequence[NewTask], when: str | None, otherwise: str | None
) -> NewTask:
    if task.after is not None:
        raise InvalidTask("after", "is named twice: by the task, and by its place")
    return task.but(after=After.of([each.id for each in others], when, otherwise))
