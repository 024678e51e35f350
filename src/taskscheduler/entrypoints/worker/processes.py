"""Several worker processes under one: each with its own event loop, so that all cores work."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SUPERVISOR: Final = "TASKSCHEDULER_SUPERVISOR_FD"
"""Names to a child the end of a pipe that it can read from: end of file is its parent's death."""
RESTART_AFTER_S: Final = 1.0
LOOK_EVERY_S: Final = 0.2
KILL_AFTER_S: Final = 10.0
"""How long a process may take to end after a second signal; it needs less unless it is stuck."""

log = logging.getLogger("taskscheduler.processes")


def supervise(arguments: Sequence[str], count: int, metrics_port: int | None = None) -> int:
    """Keep ``count`` processes of ``taskscheduler`` with ``arguments`` alive; return an exit code.

    Signals are passed on. A process that crashed is replaced; one that ended by itself (drained)
    is not. The call returns when all have ended. Should this process be killed, they end as well.
    The first shows its metrics on ``metrics_port``, each other one on the next; with 0, all on any.
    """
    return _Supervisor(
        [sys.executable, "-m", "taskscheduler", *arguments], count, metrics_port
    ).run()


def end_with_supervisor() -> None:
    """In a process that a supervisor has started: stop, as by SIGTERM, when that is no more.

    A thread waits for it, whatever the event loop does.
    """
    number = os.environ.pop(SUPERVISOR, "")
    if not number.isdecimal():
        return
    descriptor = int(number)
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - by position only
    except OSError:  # it came from somebody who has nothing to do with us
        return

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        log.warning("the process that started this worker is gone; it stops")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="taskscheduler-supervisor", daemon=True).start()


class _Supervisor:
    def __init__(self, command: Sequence[str], count: int, metrics_port: int | None) -> None:
        self._command = command
        self._count = count
        self._metrics_port = metrics_port
        self._numbers: dict[int, int] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._stopping = False
        self._kill_at: float | None = None
        self._code = 0
        # Nobody writes: the other end closes when this process ends, in whatever way.
        self._alive, self._kept_open = os.pipe()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        self._children = [self._start(number) for number in range(self._count)]
        while self._children:
            time.sleep(LOOK_EVERY_S)
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self._kill()
            self._children = [kept for child in self._children if (kept := self._look(child))]
        return self._code

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # A session of its own, so that a terminal's Ctrl-C arrives once, from here.
        port: list[str] = []
        if self._metrics_port is not None:
            port = ["--metrics-port", str(self._metrics_port and self._metrics_port + number)]
        command = [*self._command, *port]
        child = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            start_new_session=True,
            pass_fds=[self._alive],
            env={**os.environ, SUPERVISOR: str(self._alive)},
        )
        self._numbers[child.pid] = number
        return child

    def _look(self, child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes] | None:
        code = child.poll()
        if code is None:
            return child
        if code == 0 or self._stopping:
            self._code = self._code or max(code, 0)
            return None
        if code == 2:  # noqa: PLR2004 - bad configuration; trying again cannot help
            self._code = code
            self._stop()
            return None
        log.error("a worker process ended with code %d; another takes its place", code)
        time.sleep(RESTART_AFTER_S)
        return None if self._stopping else self._start(self._numbers[child.pid])

    def _pass_on(self, number: int, _: Any) -> None:
        if self._stopping and self._kill_at is None:
            # A second signal ends a worker at once. One that does not even hear it is ended.
            self._kill_at = time.monotonic() + KILL_AFTER_S
        self._stopping = True
        for child in self._children:
            child.send_signal(number)

    def _kill(self) -> None:
        for child in self._children:
            log.warning("worker process %d did not end by itself; it is killed", child.pid)
            child.kill()
        self._kill_at = None

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children:
            child.terminate()
