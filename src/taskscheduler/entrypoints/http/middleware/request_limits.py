"""How much of the server one caller may use, and for how long: decision 0030 has the reasons."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

from taskscheduler.entrypoints.settings import CONNECTIONS_DEFAULT

DESCRIPTORS_KEPT: Final = 64
"""What the process opens beside its callers' connections: the database, logs, files."""
MIB: Final = 1024 * 1024
BODIES_BYTES: Final = 256 * MIB

log = logging.getLogger("taskscheduler.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a connection may ask of the server.

    Attributes:
        connections: how many there may be at once.
        target_bytes: the longest request target; a longer one is answered with 414.
        head_bytes: request line and headers together; more is answered with 431.
        headers: how many headers a request may have; more are answered with 431.
        head_s: seconds for a head to come in, from the first byte; then 408.
        body_s: seconds that a body is given before it is measured.
        bytes_per_s: the least rate, of a body that comes in as of an answer that goes out. A slower
            body is answered with 408; a connection whose answer nobody reads is cut.
        bodies_bytes: how much of all bodies may be in memory at once; beyond it, 503.
        write_s: seconds over which the rate of an answer is measured.
        drain_s: seconds for which the rest of a refused request is read and dropped, so that a
            caller who sends all before it reads anything sees the answer.
        drain_bytes: how much of it is dropped at most.
    """

    connections: int = CONNECTIONS_DEFAULT
    target_bytes: int = 16 * 1024
    head_bytes: int = 64 * 1024
    headers: int = 100
    head_s: float = 10.0
    body_s: float = 10.0
    bytes_per_s: int = 1_000
    bodies_bytes: int = BODIES_BYTES
    write_s: float = 30.0
    drain_s: float = 30.0
    drain_bytes: int = 512 * MIB

    @classmethod
    def of(cls, connections: int, body_bytes_max: int) -> ServerLimits:
        """Return the limits of a service that takes bodies of ``body_bytes_max``."""
        return cls(connections=connections, bodies_bytes=max(BODIES_BYTES, 4 * body_bytes_max))

    def within_descriptors(self) -> ServerLimits:
        """Return these limits with no more connections than the process may open."""
        room = descriptors_max()
        if room is None or self.connections <= room - DESCRIPTORS_KEPT:
            return self
        allowed = max(1, room - DESCRIPTORS_KEPT)
        log.warning(
            "this process may open %d files: at most %d connections are accepted, not %d; raise "
            "the limit of open files (ulimit -n, LimitNOFILE)",
            room,
            allowed,
            self.connections,
        )
        return replace(self, connections=allowed)


def descriptors_max() -> int | None:
    """Return how many files this process may open at once; None where nobody says."""
    try:
        import resource  # noqa: PLC0415 - there is none on some platforms
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
