"""The threads in which plain functions run.

How many run at once is the slots' business, so a call never waits here for a thread: it gets one
that is idle, or else a new one. A thread that does not end when its attempt does is abandoned; it
cannot be stopped from outside, and it takes nobody's place meanwhile. Threads are daemons: one
that is still busy does not keep the process alive.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "taskscheduler"
Call: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"
Inbox: TypeAlias = "SimpleQueue[Call | None]"


class Threads(Executor):
    """Runs each call in a thread at once; keeps up to ``idle_max`` threads for the next calls."""

    def __init__(self, idle_max: int) -> None:
        """Start without a thread."""
        self._idle_max = idle_max
        self._idle: list[Inbox] = []
        self._lock = threading.Lock()
        self._closed = False
        self._abandoned: set[Future[Any]] = set()
        self._process = os.getpid()

    @property
    def abandoned(self) -> int:
        """How many threads still run an attempt that has ended without them."""
        return len(self._abandoned)

    def submit(  # pyright: ignore[reportIncompatibleMethodOverride] - the names are positional
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Future[Any]:
        """Run ``function`` in a thread.

        Raises:
            RuntimeError: there can be no further thread, or these have been shut down.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        call: Call = (future, lambda: function(*arguments, **options))
        with self._lock:
            if self._closed:
                message = "these threads take no further calls"
                raise RuntimeError(message)
            idle = self._idle.pop() if self._idle else None
        inbox: Inbox = SimpleQueue() if idle is None else idle
        if idle is None:
            threading.Thread(target=self._serve, args=(inbox,), name=NAME, daemon=True).start()
        inbox.put(call)
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Count the thread that runs ``future``, until it ends by itself."""
        self._abandoned.add(future)
        future.add_done_callback(self._abandoned.discard)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Let idle threads end, and busy ones as soon as they are done; wait for none."""
        del wait, cancel_futures
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def _serve(self, inbox: Inbox) -> None:
        while (call := inbox.get()) is not None:
            future, function = call
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                if os.getpid() != self._process:
                    _end_child(error)
                self._rest(inbox)
                future.set_exception(error)
                # Kept neither alive by this frame nor by the next call's wait.
                del error
            else:
                if os.getpid() != self._process:
                    _end_child(None)
                self._rest(inbox)
                future.set_result(result)
                del result
            del call, future, function

    def _rest(self, inbox: Inbox) -> None:
        """Be there for the next call, or end."""
        with self._lock:
            if not self._closed and len(self._idle) < self._idle_max:
                self._idle.append(inbox)
                return
        inbox.put(None)


def _end_child(error: BaseException | None) -> NoReturn:
    """End a process that a function forked, and in which it then returned or raised.

    Only this thread was copied into it: there is no worker here, and nobody waits for an outcome.
    """
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        with suppress(BaseException):
            sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)
