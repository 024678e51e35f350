"""How to ask for a list of tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from uuid import UUID

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.values import GROUP, GROUP_FORM, NAME, NAME_FORM

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.domain.task import Task

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""How much payload a service sends in one page."""
FIELDS: Final = ("status", "kind", "queue", "group", "tag")
FILTERS: Final = "status:<status>, kind:<kind>, queue:<queue>, group:<group> or tag:<tag>"
REPEATED: Final = "values of one field are alternatives, and all fields must hold"

Value = TypeVar("Value", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks to list, newest first.

    ``status``, ``kind``, ``queue``, ``group`` and ``tag`` are each one value or several, of which a
    task must have one; None lets all through. Every field must hold. ``queue_prefix`` is how the
    name of the queue begins. ``before`` is the cursor: only tasks that come after the one with that
    id are listed, so that pages neither skip nor repeat while others store tasks. With
    ``bytes_max``, the list ends soon after its payloads come to more than that; see ``fitting``.

    Raises:
        ValueError: a field has no value at all, or one that no task could have.
    """

    status: TaskStatus | Collection[TaskStatus] | None = None
    kind: str | Collection[str] | None = None
    queue: str | Collection[str] | None = None
    group: str | Collection[str] | None = None
    tag: str | Collection[str] | None = None
    queue_prefix: str | None = None
    before: UUID | None = None
    limit: int = LIMIT_DEFAULT
    bytes_max: int | None = None

    def __post_init__(self) -> None:
        """Keep each field as a set, so that equal queries are equal."""
        for field in FIELDS:
            given: Any = getattr(self, field)
            if given is None:
                continue
            values = frozenset(_value(field, each) for each in _several(given))
            if not values:
                message = f"{field}: give at least one, or None for all"
                raise ValueError(message)
            object.__setattr__(self, field, values)
        if self.before is not None and not isinstance(self.before, UUID):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
            message = f"before: must be a UUID, not {type(self.before).__name__}"
            raise ValueError(message)
        if not isinstance(self.limit, int) or self.limit < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - the same
            message = "limit: must be a whole number, 0 at least"
            raise ValueError(message)

    @property
    def statuses(self) -> frozenset[TaskStatus] | None:
        """The statuses that are wanted; None for all."""
        return _set(self.status)

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that are wanted; None for all."""
        return _set(self.kind)

    @property
    def queues(self) -> frozenset[str] | None:
        """The queues that are wanted; None for all."""
        return _set(self.queue)

    @property
    def groups(self) -> frozenset[str] | None:
        """The groups that are wanted; None for all."""
        return _set(self.group)

    @property
    def tags(self) -> frozenset[str] | None:
        """The tags of which a task must have one; None for all."""
        return _set(self.tag)

    def wants(self, task: Task) -> bool:
        """Tell whether ``task`` matches, wherever it is in the list."""
        return (
            (self.statuses is None or task.status in self.statuses)
            and (self.kinds is None or task.kind in self.kinds)
            and (self.queues is None or task.queue in self.queues)
            and (self.groups is None or task.group in self.groups)
            and (self.tags is None or not self.tags.isdisjoint(task.tags))
            and (self.queue_prefix is None or task.queue.startswith(self.queue_prefix))
        )

    @classmethod
    def parse(
        cls,
        filters: Sequence[str],
        *,
        before: UUID | None = None,
        limit: int = LIMIT_DEFAULT,
        bytes_max: int | None = None,
    ) -> Self:
        """Return what ``filters`` ask for: those of one field are alternatives.

        Raises:
            ValueError: one of them is no filter; it says why.
        """
        wanted = wanted_by(filters)
        statuses = wanted.get("status")
        return cls(
            status=None if statuses is None else [TaskStatus(each) for each in statuses],
            kind=wanted.get("kind"),
            queue=wanted.get("queue"),
            group=wanted.get("group"),
            tag=wanted.get("tag"),
            before=before,
            limit=limit,
            bytes_max=bytes_max,
        )


def _several(given: object) -> Iterable[object]:
    """Return the values that are ``given``, if only one."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return (given,)
    return cast("Iterable[object]", given)


def _value(field: str, value: object) -> str:
    """Return a value that ``field`` of a task may have. Raises ValueError."""
    if field == "status":
        return TaskStatus(value)
    form = GROUP if field == "group" else NAME
    if not isinstance(value, str) or form.fullmatch(value) is None:
        expected = GROUP_FORM if field == "group" else NAME_FORM
        message = f"{value!r} is no {field}: {expected}"
        raise ValueError(message)
    return value


def wanted_by(filters: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Return the values that ``filters`` name, by field.

    Raises:
        ValueError: one of them is no filter; it says why.
    """
    wanted: dict[str, frozenset[str]] = {}
    for each in filters:
        field, found, value = each.partition(":")
        reason = None
        if not found or field not in FIELDS:
            reason = f"{each!r} is no filter; expected {FILTERS}"
        elif field == "status" and value not in set(TaskStatus):
            reason = f"{value!r} is no status; expected one of {', '.join(TaskStatus)}"
        elif field == "group" and GROUP.fullmatch(value) is None:
            reason = f"{value!r} is no group: {GROUP_FORM}"
        elif field in {"kind", "queue", "tag"} and NAME.fullmatch(value) is None:
            reason = f"{value!r} is no {field}: {NAME_FORM}"
        if reason is not None:
            raise ValueError(reason)
        wanted[field] = wanted.get(field, frozenset()) | {value}
    return wanted


def fitting(tasks: Sequence[Task], *, limit: int, bytes_max: int) -> Sequence[Task]:
    """Return the first of ``tasks`` that make one page: at least one, if there is any.

    What is left is the beginning of the next page.
    """
    size = 0
    for number, task in enumerate(tasks[:limit]):
        size += len(task.payload_json)
        if number and size > bytes_max:
            return tasks[:number]
    return tasks[:limit]


def _set(values: Value | Collection[Value] | None) -> frozenset[Value] | None:
    # Kept as a set by ``__post_init__``, whatever was given.
    return values if isinstance(values, frozenset) else None
