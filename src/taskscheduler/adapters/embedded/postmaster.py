"""The server that runs on a cluster's data, as its pid file tells."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psycopg

__all__ = ["Postmaster", "forget_recycled_pid"]


class Postmaster(NamedTuple):
    """A running server, as its own pid file tells."""

    pid: int
    port: str
    sockets: str
    starting: bool

    @classmethod
    def find(cls, cluster: Path) -> Postmaster | None:
        """Return the server that runs on this data.

        After a crash the pid in the file may be another program's by now, so its command line
        is asked. That of a dead process that nobody has reaped is empty.
        """
        try:
            lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        if not _serves(pid, cluster):
            return None
        _, _, _, port, sockets, _, _, status, *_ = [*lines, *[""] * 8]  # it is written bit by bit
        return cls(pid, port, sockets, starting=status.strip() == "starting")

    @property
    def url(self) -> str:
        """Where it listens; readable, for people will copy it."""
        port = "" if self.port == "5432" else f"&port={self.port}"
        return f"postgresql://postgres@/postgres?host={quote(self.sockets, safe='/')}{port}"

    def answers(self) -> bool:
        """Tell whether it lets us in by now."""
        if not self.sockets:
            return False
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def forget_recycled_pid(cluster: Path) -> None:
    """Remove a pid file whose pid, after a crash, is another program's: PostgreSQL would give up.

    Its second guard, the shared memory's owner count, still keeps two servers apart.
    """
    file = cluster / "postmaster.pid"
    with suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text(encoding="utf-8").split()[0])
        os.kill(pid, 0)  # a dead one's is no hindrance
        if not _serves(pid, cluster):  # one may have come up since we last looked
            file.unlink()


def _serves(pid: int, cluster: Path) -> bool:
    return re.search(rf"\s-D\s{re.escape(str(cluster))}(\s|$)", _command_line(pid)) is not None


def _command_line(pid: int) -> str:
    """Return a process's program and arguments, or nothing when there is no such process."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
        return ""
    command = ("ps", "-ww", "-o", "command=", "-p", str(pid))
    return subprocess.run(command, capture_output=True, check=False, text=True).stdout  # noqa: S603
