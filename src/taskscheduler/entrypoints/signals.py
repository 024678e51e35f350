"""Being told to stop, and ending.

The first SIGTERM or SIGINT lets the process end in order. A second one ends it at once: what can
be given back within seconds is given back, and nothing that still runs is waited for, neither in
threads nor on an event loop that it keeps from turning.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPED_BY: Final = (signal.SIGTERM, signal.SIGINT)
ANSWER_S: Final = 1.0
"""A loop that does not turn for so long is kept from it, and cannot give anything back."""
GIVE_BACK_S: Final = 7.0
"""How long the end may take after a second signal, while the loop turns."""
THREADS_S: Final = 2.0
"""How long threads that are left over may take after the first signal, when all else has ended."""

log = logging.getLogger("taskscheduler.worker")


class _Process:
    """How often this process was told to stop, and by whom it wants to be told."""

    told = 0
    listens = False


def on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` for every SIGTERM and SIGINT; let the second end the process at once."""
    loop = asyncio.get_running_loop()

    def hear(number: int, frame: object) -> None:
        # Not by the loop's own handlers: those wait for it to turn.
        del number, frame
        _Process.told += 1
        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:
            end_now(1)  # the loop has ended, and something else takes long
        if _Process.told == 2:  # noqa: PLR2004 - the second
            threading.Thread(target=_see_to_the_end, args=[loop], daemon=True).start()

    _Process.told, _Process.listens = 0, True
    for number in STOPPED_BY:
        signal.signal(number, hear)


def are_heard() -> bool:
    """Tell whether SIGINT goes to ``on_signals``, and so raises no KeyboardInterrupt."""
    return _Process.listens


def end(code: int) -> NoReturn:
    """End the process with ``code``, without waiting for threads that were told to stop."""
    if _Process.told:
        deadline = time.monotonic() + (THREADS_S if _Process.told == 1 else 0.0)
        for thread in _left_over():
            thread.join(max(deadline - time.monotonic(), 0.0))
        if left := len(_left_over()):
            log.warning("%d threads still run; the process ends without them", left)
            end_now(code)
    sys.exit(code)


def end_now(code: int) -> NoReturn:
    """End the process as it is."""
    with suppress(Exception):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _left_over() -> list[threading.Thread]:
    """Return the threads that the interpreter would wait for."""
    here = threading.current_thread()
    return [
        thread
        for thread in threading.enumerate()
        if thread is not here and not thread.daemon and thread.is_alive()
    ]


def _see_to_the_end(loop: asyncio.AbstractEventLoop) -> None:
    """End the process unless its loop does so in time."""
    answered = threading.Event()
    with suppress(RuntimeError):  # closed: then the rest is the main thread's
        loop.call_soon_threadsafe(answered.set)
        if not answered.wait(ANSWER_S) and not loop.is_closed():
            log.warning("a handler keeps the event loop busy; the process ends without it")
            end_now(1)
        deadline = time.monotonic() + GIVE_BACK_S
        while not loop.is_closed():
            if time.monotonic() > deadline:
                log.warning("the end takes too long; the process ends as it is")
                end_now(1)
            time.sleep(ANSWER_S / 20)
