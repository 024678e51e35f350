"""How much there is to do, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """The Pending tasks of one queue.

    ``due`` ones could run now, ``scheduled`` ones later. ``oldest_due`` is how long the first of
    them has been due; None if none is. ``estimated`` says that they were too many to be counted.
    """

    due: int
    scheduled: int
    oldest_due: timedelta | None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What waits, queue by queue, and the store's time of looking.

    ``left_out`` says that there is more: tasks wait in more lanes, or there are more queues, than
    are looked into.
    """

    now: datetime
    queues: Mapping[str, QueueDepth]
    left_out: bool = False
