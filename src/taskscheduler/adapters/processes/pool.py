"""A pool of processes in which a call can be killed, and in which a crash costs that call alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pebble import ProcessExpired, ProcessPool

from taskscheduler.domain.errors import EngineLost

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS_PER_PROCESS: Final = 1_000
"""After so many calls a process is replaced: what leaks in handlers does not add up for ever."""
SAID_BYTES_MAX: Final = 65_536
STOP_TIMEOUT_S: Final = 5.0

_voice: socket.socket | None = None


class ProcessEngine:
    """``Engine`` in processes of this machine, as many as it has cores.

    They are spawned, not forked: a fork of a process with threads may stand still for ever. What
    they say on their way comes as datagrams, so that one that is killed leaves no lock behind.
    """

    def __init__(self, size: int | None = None) -> None:
        """Start ``size`` processes once there is something to call."""
        self._size = size or os.cpu_count() or 1
        self._places = asyncio.Semaphore(self._size)
        self._pool: ProcessPool | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ear: socket.socket | None = None
        self._hears: set[Callable[[bytes], None]] = set()

    async def run(
        self,
        function: Callable[..., bytes],
        argument: bytes,
        *,
        begins: Callable[[], None],
        hears: Callable[[bytes], None],
    ) -> bytes:
        """See ``Engine.run``."""
        async with self._places:
            pool = self._opened()
            begins()
            self._hears.add(hears)
            try:
                # To cancel it kills the process, which the pool replaces.
                called = pool.schedule(_call, args=(function, argument))
                return await asyncio.wrap_future(called)
            except ProcessExpired as error:
                message = f"the handler's process ended by itself, with exit code {error.exitcode}"
                raise EngineLost(message) from None
            finally:
                self._hears.discard(hears)

    async def close(self) -> None:
        """See ``Engine.close``."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            with suppress(TimeoutError):
                await asyncio.to_thread(pool.join, STOP_TIMEOUT_S)
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear)
            self._ear.close()
            self._ear = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _opened(self) -> ProcessPool:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self._size,
                max_tasks=CALLS_PER_PROCESS,
                initializer=_begin,
                initargs=(self._listen(),),
                context=cast("Any", multiprocessing.get_context("spawn")),
            )
        return self._pool

    def _listen(self) -> str | None:
        """Hear what processes say; return where, or None where there are no such sockets."""
        if not hasattr(socket, "AF_UNIX"):
            return None
        self._folder = tempfile.TemporaryDirectory(prefix="taskscheduler-")
        address = str(Path(self._folder.name) / "said")
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.settimeout(0)
        self._ear.bind(address)
        asyncio.get_running_loop().add_reader(self._ear, self._hear)
        return address

    def _hear(self) -> None:
        if self._ear is None:
            return
        with suppress(BlockingIOError):
            while True:
                said = self._ear.recv(SAID_BYTES_MAX)
                for hears in list(self._hears):
                    hears(said)


def _begin(address: str | None) -> None:
    """Begin a process: connect it to where it is heard."""
    global _voice  # noqa: PLW0603 - there is one process
    if address is not None:
        _voice = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _voice.settimeout(0)
        with suppress(OSError):
            _voice.connect(address)


def _call(function: Callable[..., bytes], argument: bytes) -> bytes:
    return function(argument, _say)


def _say(said: Any) -> None:
    if _voice is not None and len(said) <= SAID_BYTES_MAX:
        # Where nobody hears, or too much is said, it is left out: progress is worth no wait.
        with suppress(OSError):
            _voice.send(said)
