"""What a task waits for before its own time counts: other tasks, which must end first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from uuid import UUID

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.values import TaskId, uuid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

AFTER_MAX: Final = 100
"""How many tasks one may name."""
WAITING_AT: Final = datetime(9500, 1, 1, tzinfo=UTC)
"""The ``process_at`` of a task that waits for others: later than any time that can be asked for."""


class When(StrEnum):
    """What counts as the end that is waited for."""

    SUCCEEDED = "succeeded"
    """The task is Completed."""
    ENDED = "ended"
    """The task is Completed, Failed or Cancelled, or was deleted."""


class Otherwise(StrEnum):
    """What becomes of a task when one that it waits for ends without success."""

    CANCEL = "cancel"
    """It is Cancelled at once."""
    RUN = "run"
    """It runs all the same, once all have ended."""
    HOLD = "hold"
    """It stays Pending until somebody runs or cancels it, or the other is retried and succeeds."""


@dataclass(frozen=True, slots=True)
class After:
    """Which tasks must end before this one may begin.

    An id that is given twice counts once. Raises InvalidTask.
    """

    task_ids: tuple[TaskId, ...]
    when: When = When.SUCCEEDED
    otherwise: Otherwise = Otherwise.CANCEL

    def __post_init__(self) -> None:
        """Check what is given."""
        if not isinstance(self.task_ids, (list, tuple)) or not 1 <= len(self.task_ids) <= AFTER_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
            raise InvalidTask("after", f"must be 1 to {AFTER_MAX} ids of tasks")
        ids = dict.fromkeys(
            TaskId(each if type(each) is UUID else uuid_of(each, "after")) for each in self.task_ids
        )
        object.__setattr__(self, "task_ids", tuple(ids))
        object.__setattr__(self, "when", _one_of(When, "when", self.when))
        object.__setattr__(self, "otherwise", _one_of(Otherwise, "otherwise", self.otherwise))

    @property
    def needs_success(self) -> bool:
        """Whether a task that ends without success is not what is waited for."""
        return self.when is When.SUCCEEDED

    def known_as(self, ids: Mapping[TaskId, TaskId]) -> After:
        """Return the same with those of the tasks that ``ids`` has under their ids there."""
        return After(
            tuple(ids.get(each, each) for each in self.task_ids), self.when, self.otherwise
        )

    @classmethod
    def of(
        cls, task_ids: Iterable[UUID] | None, when: str | None, otherwise: str | None
    ) -> After | None:
        """Return what these fields of a task ask for; None if ``task_ids`` are left out.

        Raises:
            InvalidTask: one of the fields makes no sense.
        """
        if task_ids is None:
            for name, value in (("when", when), ("otherwise", otherwise)):
                if value is not None:
                    raise InvalidTask(name, "goes with after, the ids of the tasks to wait for")
            return None
        if isinstance(task_ids, (str, bytes, UUID)):
            raise InvalidTask("after", "must be a list of ids")
        return cls(
            tuple(TaskId(each) for each in task_ids),
            When.SUCCEEDED if when is None else _one_of(When, "when", when),
            Otherwise.CANCEL if otherwise is None else _one_of(Otherwise, "otherwise", otherwise),
        )


class Wait(NamedTuple):
    """How far a wait for other tasks is.

    So many are ``left``, of ``total``; the first of them are ``task_ids``. ``failed`` is one for
    which the task is held, if it is. If it waits for the end of a ``batch``, those are its tasks.
    """

    left: int
    total: int
    task_ids: tuple[TaskId, ...] = ()
    failed: UUID | None = None
    batch: UUID | None = None


def require_no_circle(waits: Mapping[TaskId, After], places: Sequence[TaskId]) -> None:
    """Check that no tasks of one call wait for one another, or a task for itself.

    ``places`` are the ids of all tasks of the call. Raises InvalidTask.
    """
    try:
        TopologicalSorter({each: after.task_ids for each, after in waits.items()}).prepare()
    except CycleError as error:
        circle: list[TaskId] = error.args[1]
        index = places.index(circle[0]) if len(places) > 1 else None
        names = "itself" if len(set(circle)) == 1 else "one another: " + ", ".join(map(str, circle))
        raise InvalidTask("after", f"tasks cannot wait for {names}", index=index) from None


Choice = TypeVar("Choice", bound=StrEnum)


def _one_of(choices: type[Choice], name: str, given: str) -> Choice:
    try:
        return choices(given)
    except ValueError:
        known = ", ".join(repr(each.value) for each in choices)
        raise InvalidTask(name, f"must be one of {known}, not {given!r}") from None
