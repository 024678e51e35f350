"""What a worker may be told: the defaults, and the bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.notes import RESULT_BYTES_LIMIT
from taskscheduler.domain.values import NAME, NAME_FORM

if TYPE_CHECKING:
    from taskscheduler.application.worker.handlers import Handlers

LEASE_DEFAULT: Final = timedelta(seconds=30)
LEASE_MIN: Final = timedelta(seconds=1)
CONCURRENCY_DEFAULT: Final = 50
POLL_INTERVAL_DEFAULT: Final = timedelta(seconds=1)
SHUTDOWN_TIMEOUT_DEFAULT: Final = timedelta(seconds=20)


def check_settings(
    queues: frozenset[str],
    concurrency: int,
    lease: timedelta,
    poll_interval: timedelta,
    shutdown_timeout: timedelta,
    result_bytes_max: int,
) -> None:
    """Check what a worker is told. Raises InvalidConfiguration: a value makes no sense."""
    if not queues or any(NAME.fullmatch(queue) is None for queue in queues):
        message = f"queues must be at least one name of {NAME_FORM}"
        raise InvalidConfiguration(message)
    if concurrency < 1:
        message = "concurrency must be at least 1"
        raise InvalidConfiguration(message)
    if lease < LEASE_MIN:
        message = f"lease must be at least {LEASE_MIN.total_seconds():g} s"
        raise InvalidConfiguration(message)
    if poll_interval <= timedelta(0):
        message = "poll_interval must be above 0"
        raise InvalidConfiguration(message)
    if shutdown_timeout < timedelta(0):
        message = "shutdown_timeout must not be negative"
        raise InvalidConfiguration(message)
    if not 0 <= result_bytes_max <= RESULT_BYTES_LIMIT:
        message = f"result_bytes_max must be 0 to {RESULT_BYTES_LIMIT}"
        raise InvalidConfiguration(message)


def limit_batches(handlers: Handlers, concurrency: int) -> None:
    """Let no batch of ``handlers`` want more tasks than may run at once."""
    for kind in handlers:
        if (batch := handlers[kind].batch) is not None:
            batch.at_most(concurrency)
