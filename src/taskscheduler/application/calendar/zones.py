"""Time zones, from one place: the ``tzdata`` package, whatever the machine has of its own.

Two workers on different images would otherwise reckon by different rules, and fire one nominal time
at two moments. ``VERSION`` is written beside each time that was reckoned by it.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

from taskscheduler.domain.errors import InvalidSchedule

VERSION: Final = tzdata.IANA_VERSION
"""Such as ``2026a``. Of two versions the one that sorts later is the newer."""
NO_ZONES: Final = frozenset({"Factory"})
"""Listed among the zones, and meant to say that nobody has chosen one."""
CLOCKLESS: Final = frozenset({"UTC", "Etc/UTC"})
"""Every version agrees on these."""


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the names of all zones that a schedule may go by."""
    listed = resources.files(tzdata).joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - NO_ZONES


@cache  # there are not many more than ``names`` has
def _read(name: str) -> ZoneInfo:
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of that name.

    Raises:
        InvalidSchedule: there is none.
    """
    if name not in names():
        reason = (
            f"{name!r} is no IANA time zone, such as Europe/Berlin; "
            f"zones are those of tzdata {VERSION}"
        )
        raise InvalidSchedule("time_zone", reason)
    return _read(name)


def version_for(name: str) -> str | None:
    """Return which version of the zones a time in that zone depends on; None: on none."""
    return None if name in CLOCKLESS else VERSION
