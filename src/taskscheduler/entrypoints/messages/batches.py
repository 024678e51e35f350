"""The shapes of batches."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from taskscheduler.domain.after import Otherwise, When
from taskscheduler.domain.batch import NAME_CHARACTERS_MAX
from taskscheduler.domain.status import TaskStatus
from taskscheduler.entrypoints.messages.tasks import NewTaskMessage

if TYPE_CHECKING:
    from taskscheduler.domain.batch import Batch
    from taskscheduler.domain.change import TaskState


class NewBatchMessage(Struct, forbid_unknown_fields=True, rename=None):
    """A batch to be made."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)] | None = None
    then: NewTaskMessage | None = None


class Made(Struct):
    """The answer to making a batch."""

    id: UUID


class ThenMessage(Struct, kw_only=True):
    """The task that comes after a batch; of one that was deleted, the id alone is left."""

    id: UUID
    kind: str | None
    queue: str | None
    status: TaskStatus | None
    when: When | None
    otherwise: Otherwise | None


class BatchMessage(Struct, kw_only=True):
    """A batch as it is now. Of `total` tasks, those are `pending` that have not ended."""

    id: UUID
    name: str | None
    created_at: datetime
    sealed_at: datetime | None
    ended_at: Annotated[
        datetime | None, Meta(description="when it was sealed and its last task had ended")
    ]
    total: int
    pending: int
    completed: int
    failed: int
    cancelled: int
    then: ThenMessage | None

    @classmethod
    def of(cls, batch: Batch, then: TaskState | None) -> BatchMessage:
        """Return ``batch`` as it is sent; ``then`` is the state of the task that follows it."""
        shared: dict[str, Any] = {
            name: getattr(batch, name) for name in cls.__struct_fields__ if name != "then"
        }
        return cls(**shared, then=None if batch.then is None else _then(batch, batch.then, then))


def _then(batch: Batch, task_id: UUID, state: TaskState | None) -> ThenMessage:
    return ThenMessage(
        id=task_id,
        kind=state and state.kind,
        queue=state and state.queue,
        status=state and state.status,
        when=batch.when,
        otherwise=batch.otherwise,
    )
