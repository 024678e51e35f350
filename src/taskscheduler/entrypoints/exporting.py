"""Writing tasks to files before they are dropped."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taskscheduler.domain.task import Task


def exporter(folder: Path) -> Callable[[Sequence[Task]], None]:
    """Return what appends tasks to a file in ``folder``: one in a line, as REST answers them.

    There is a file a day and process. When a call returns, its lines are on the disk; a task may
    be there twice, never missing. It raises OSError where it cannot write.
    """
    encode = msgspec.json.Encoder().encode

    def export(tasks: Sequence[Task]) -> None:
        from taskscheduler.entrypoints.http.messages import TaskMessage  # noqa: PLC0415 - heavy

        folder.mkdir(parents=True, exist_ok=True)
        name = f"tasks-{datetime.now(UTC):%Y%m%d}-{os.getpid()}.ndjson"
        with (folder / name).open("ab") as file:
            file.writelines(encode(TaskMessage.of(task)) + b"\n" for task in tasks)
            file.flush()
            os.fsync(file.fileno())

    return export
