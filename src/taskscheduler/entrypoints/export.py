"""Writing tasks to files before they are dropped."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taskscheduler.domain.task import Task


def exporter(folder: Path) -> Callable[[Sequence[Task]], None]:
    """Return what appends tasks to a file in ``folder``: one in a line, as REST answers them.

    There is a file a day and process, which its owner alone can read, for payloads are in it. When
    a call returns, its lines are on the disk; a task may
    be there twice, never missing. It raises OSError where it cannot write.
    """
    encode = msgspec.json.Encoder().encode

    def export(tasks: Sequence[Task]) -> None:
        from taskscheduler.entrypoints.messages.tasks import TaskMessage  # noqa: PLC0415 - heavy

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"tasks-{datetime.now(UTC):%Y%m%d}-{os.getpid()}.ndjson"
        with open(folder / name, "ab", opener=_for_us_alone) as file:
            file.writelines(encode(TaskMessage.of(task)) + b"\n" for task in tasks)
            file.flush()
            os.fsync(file.fileno())

    return export


def _for_us_alone(path: str, flags: int) -> int:
    """Open ``path``; what a file of before allowed to others is taken back."""
    descriptor = os.open(path, flags, 0o600)
    with suppress(PermissionError):  # it is another user's file, who decides on it
        os.fchmod(descriptor, 0o600)
    return descriptor
