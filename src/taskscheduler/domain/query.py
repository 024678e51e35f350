"""How to ask for a list of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

    from taskscheduler.domain.status import TaskStatus

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks to list, newest first.

    Each filter that is not None must hold; ``queue_prefix`` is how the name of the queue begins.
    ``before`` is the cursor: only tasks whose id is
    smaller are listed, so that pages neither skip nor repeat while others store tasks.
    """

    status: TaskStatus | None = None
    kind: str | None = None
    queue: str | None = None
    queue_prefix: str | None = None
    before: UUID | None = None
    limit: int = LIMIT_DEFAULT
