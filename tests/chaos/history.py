"""What happened, written down outside the database by everyone who took part.

One file for each writer, one JSON object a line, each line one ``write`` to a file opened for
appending: a process that is killed leaves every line that it had written, whole.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

Record = dict[str, Any]

ENCODER = msgspec.json.Encoder()


class History:
    """One writer's own file in the folder of a run."""

    def __init__(self, folder: Path, role: str) -> None:
        """Open a new file for ``role``."""
        path = folder / f"{role}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._pid = os.getpid()

    def add(self, event: str, **facts: Any) -> None:
        """Write one line: ``event``, the time on the host's two clocks, the process, the facts."""
        line = {
            "event": event,
            "at": time.time(),
            "mono": time.monotonic(),
            "pid": self._pid,
            **facts,
        }
        os.write(self._file, ENCODER.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(folder: Path) -> list[Record]:
    """Return every record in ``folder``, in the order of the host's monotonic clock.

    A last line without an end is what a killed process was just about to say: it does not count.
    """
    records: list[Record] = []
    decode = msgspec.json.Decoder(Record).decode
    for path in sorted(folder.glob("*.jsonl")):
        *lines, _torn = path.read_bytes().split(b"\n")
        records.extend(decode(line) for line in lines)
    records.sort(key=lambda record: record["mono"])
    return records
