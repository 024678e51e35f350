"""Who is connected, who is turned away, and what is said of it in the log."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits
    from taskscheduler.entrypoints.request_metrics import Requests

SAY_EVERY_S: Final = 10.0
NO_ROUTE: Final = "none"

log = logging.getLogger("taskscheduler.http")


class Guarded(Protocol):
    """A connection that keeps to limits."""

    def check(self, now: float) -> None:
        """Act if a time has run out at ``now``."""
        ...

    def cut(self) -> None:
        """End it at once."""
        ...


class Door:
    """What all connections of one server share."""

    def __init__(self, limits: ServerLimits, requests: Requests | None = None) -> None:
        """Keep to ``limits``; count in ``requests`` what never reaches the application."""
        self.limits = limits
        self.requests = requests
        #: Those that have sent no whole head, by how long: whoever came first is let go first.
        self.waiting: dict[Guarded, None] = {}
        #: Those over the limit, which only hear that they are.
        self.leaving: set[Guarded] = set()
        #: How many bytes of bodies are in memory.
        self.held = 0
        self._turned_away: Counter[str] = Counter()
        self._said_at = -SAY_EVERY_S
        self._said_descriptors_at = -SAY_EVERY_S

    def turn_away(self, reason: str, status: int) -> None:
        """Count a request that the application never sees; ``status`` 0 if nothing was answered."""
        self._turned_away[reason] += 1
        if self.requests is not None:
            self.requests.add("other", NO_ROUTE, status, 0.0)

    def make_room(self) -> bool:
        """Let go of the connection that has waited longest for a request; tell if there was one."""
        longest = next(iter(self.waiting), None)
        if longest is None:
            return False
        self.waiting.pop(longest)
        self.turn_away("idle, at the limit of connections", 0)
        longest.cut()
        return True

    def look(self, connections: Iterable[Guarded], now: float) -> None:
        """Look whether a time has run out, and say from time to time who was turned away."""
        for each in [*connections, *self.leaving]:
            each.check(now)
        if self._turned_away and now - self._said_at >= SAY_EVERY_S:
            said = ", ".join(f"{count} {reason}" for reason, count in self._turned_away.items())
            total = self._turned_away.total()
            log.warning("turned away %d connections or requests: %s", total, said)
            self._turned_away.clear()
            self._said_at = now
        if now - self._said_descriptors_at >= SAY_EVERY_S and (reason := no_descriptors()):
            log.error("%s: new connections cannot be accepted until others end", reason)
            self._said_descriptors_at = now


def no_descriptors() -> str | None:
    """Say that no file can be opened any more; None as long as one can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EMFILE:
            return "this process has as many files open as it may (ulimit -n, LimitNOFILE)"
        if error.errno == errno.ENFILE:
            return "this machine has as many files open as it may"
    return None
