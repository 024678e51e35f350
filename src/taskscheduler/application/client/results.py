"""What handlers return, as it is kept, and as it is given to whoever asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskscheduler.application.client.payloads import encode
from taskscheduler.domain.errors import InvalidResult, InvalidTask, TaskCancelled, TaskFailed
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from taskscheduler.domain.notes import Ending
    from taskscheduler.domain.values import TaskId


def encode_result(value: object, bytes_max: int) -> bytes | None:
    """Return what is kept of what a handler returned: JSON text, or None for None.

    Raises:
        InvalidResult: it has no JSON form, or is too large.
    """
    if value is None:
        return None
    try:
        text = encode(value)
    except InvalidTask as error:
        raise InvalidResult(error.reason) from error
    if len(text) > bytes_max:
        reason = f"is {len(text)} bytes of JSON, and {bytes_max} is the most"
        raise InvalidResult(reason)
    return text


def value_of(task_id: TaskId, ending: Ending) -> Any:
    """Return the result of a task that ended so. Raises TaskFailed, TaskCancelled."""
    match ending.status:
        case TaskStatus.FAILED:
            raise TaskFailed(task_id, ending.error)
        case TaskStatus.CANCELLED:
            raise TaskCancelled(task_id, ending.error)
        case _:
            return None if ending.result is None else msgspec.json.decode(ending.result)
