"""Where the tasks are: what a container is handed, and what every way in fills in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.values import UNIQUE_FOR_DEFAULT

if TYPE_CHECKING:
    from datetime import timedelta

WAKEUPS_DEFAULT: Final = "postgres:"
WAKEUPS_FORMS: Final = "postgres:, amqp://…, amqps://…, sqs+https://… or poll:"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the tasks are, and by which way workers are told of new ones.

    ``listen_url`` leads past a pooler, if ``url`` leads through one. ``wakeups`` is a URL, too; see
    ``taskscheduler.container.wakeups_by``.
    """

    url: str = field(repr=False)
    schema: str = "taskscheduler"
    listen_url: str | None = field(default=None, repr=False)
    pool_size: int = 10
    unique_for: timedelta = UNIQUE_FOR_DEFAULT
    wakeups: str = field(default=WAKEUPS_DEFAULT, repr=False)

    @property
    def url_for_listening(self) -> str:
        """The URL of the connection on which PostgreSQL's notices are heard."""
        return self.listen_url or self.url
