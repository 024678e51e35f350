"""How to ask for a list of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task import NAME, NAME_FORM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
FILTERS: Final = "status:<status>, kind:<kind> or queue:<queue>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks to list, newest first.

    Each filter that is not None must hold; ``queue_prefix`` is how the name of the queue begins.
    ``before`` is the cursor: only tasks that come after the one with that id are listed, so that
    pages neither skip nor repeat while others store tasks.
    """

    status: TaskStatus | None = None
    kind: str | None = None
    queue: str | None = None
    queue_prefix: str | None = None
    before: UUID | None = None
    limit: int = LIMIT_DEFAULT

    @classmethod
    def parse(
        cls, filters: Sequence[str], *, before: UUID | None = None, limit: int = LIMIT_DEFAULT
    ) -> Self | None:
        """Return what ``filters`` ask for; None if two of them exclude each other.

        Raises:
            ValueError: one of them is no filter; it says why.
        """
        wanted = wanted_by(filters)
        if wanted is None:
            return None
        status = wanted.get("status")
        return cls(
            status=None if status is None else TaskStatus(status),
            kind=wanted.get("kind"),
            queue=wanted.get("queue"),
            before=before,
            limit=limit,
        )


def wanted_by(filters: Sequence[str]) -> dict[str, str] | None:
    """Return the values of ``filters`` by field; None if two of them exclude each other.

    Raises:
        ValueError: one of them is no filter; it says why.
    """
    wanted: dict[str, str] = {}
    contradicting = False
    for each in filters:
        field, found, value = each.partition(":")
        reason = None
        if not found or field not in {"status", "kind", "queue"}:
            reason = f"{each!r} is no filter; expected {FILTERS}"
        elif field == "status" and value not in set(TaskStatus):
            reason = f"{value!r} is no status; expected one of {', '.join(TaskStatus)}"
        elif field != "status" and NAME.fullmatch(value) is None:
            reason = f"{value!r} is no {field}: {NAME_FORM}"
        if reason is not None:
            raise ValueError(reason)
        contradicting |= wanted.setdefault(field, value) != value
    return None if contradicting else wanted
