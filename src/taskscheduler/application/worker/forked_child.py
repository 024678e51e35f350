"""What a process forgets that a handler forks: it is not the worker that its parent is.

A fork copies signal handlers, and the descriptor by which a signal wakes the event loop. Whoever
ends such a child (``multiprocessing`` does, by SIGTERM) would wake the parent's loop instead, and
the worker would take it that it is to stop.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

STOPPING: Final = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
"""The signals by which a process is told to end."""


class _Masks(threading.local):
    """The forking thread's signal masks from before it forked."""

    def __init__(self) -> None:
        self.kept: list[set[signal.Signals | int]] = []


_masks = _Masks()
_working = 0
_lock = threading.Lock()


@contextmanager
def children_are_their_own() -> Generator[None]:
    """Let processes that are forked within the block end when they are told to, and they alone."""
    global _working  # noqa: PLW0603 - of the process, as signal handlers are
    with _lock:
        _working += 1
        _watch_forks()
    try:
        yield
    finally:
        with _lock:
            _working -= 1


_watched = False


def _watch_forks() -> None:
    global _watched  # noqa: PLW0603 - what is registered cannot be taken back
    if not _watched and hasattr(os, "register_at_fork"):
        _watched = True
        os.register_at_fork(
            before=_hold_signals, after_in_parent=_take_signals, after_in_child=_forget
        )


def _hold_signals() -> None:
    """Keep signals from a child until it has forgotten what it would do about them."""
    _masks.kept.append(signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING))


def _take_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.kept.pop())


def _forget() -> None:
    if _working:
        signal.set_wakeup_fd(-1)
        for number in STOPPING:
            if callable(signal.getsignal(number)):
                usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, usual)
    _take_signals()
