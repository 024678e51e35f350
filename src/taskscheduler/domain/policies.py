"""What becomes of the fires of a schedule that are late, overlap or fail."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final

from taskscheduler.domain.errors import InvalidSchedule

WINDOW_MIN: Final = timedelta(seconds=1)
WINDOW_MAX: Final = timedelta(days=366)
CATCH_UP_MAX: Final = 1_000
BUFFERED_MAX: Final = 1_000
"""So many fires of one schedule wait at most; what comes then is skipped."""
FAILURES_MAX: Final = 1_000


class CatchUp(StrEnum):
    """What becomes of fires that passed while no worker was alive.

    What live workers are late with is not missed: each of it is stored.
    """

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class Overlap(StrEnum):
    """What becomes of a fire while the task of the one before has not ended."""

    ALLOW = "allow"
    """Its task is stored all the same."""
    SKIP = "skip"
    """It has no task."""
    BUFFER_ONE = "buffer_one"
    """It waits until that task has ended, unless another one waits already."""
    BUFFER_ALL = "buffer_all"
    """It waits for its turn: one task after another."""
    CANCEL_RUNNING = "cancel_running"
    """That task is cancelled, and its own is stored."""

    @property
    def buffered_max(self) -> int:
        """How many fires may wait."""
        return {Overlap.BUFFER_ONE: 1, Overlap.BUFFER_ALL: BUFFERED_MAX}.get(self, 0)


BUFFERING: Final = (Overlap.BUFFER_ONE, Overlap.BUFFER_ALL)
SINGLE: Final = frozenset({Overlap.SKIP, Overlap.CANCEL_RUNNING})
"""Of fires that come at one moment these take one."""


def check_policies(
    catch_up: CatchUp,
    overlap: Overlap,
    catch_up_window: timedelta | None,
    catch_up_max: int | None,
    pause_after_failures: int | None,
) -> None:
    """Check that the policies of a schedule fit together. Raises InvalidSchedule."""
    if catch_up is CatchUp.ALL and overlap in SINGLE:
        reason = f"cannot be all where overlap is {overlap.value}: of many at once one would be"
        raise InvalidSchedule("catch_up", f"{reason} stored")
    if catch_up_window is not None and not WINDOW_MIN <= catch_up_window <= WINDOW_MAX:
        raise InvalidSchedule("catch_up_window_s", "must be 1 second to 366 days")
    if catch_up_max is not None:
        if not 1 <= catch_up_max <= CATCH_UP_MAX:
            raise InvalidSchedule("catch_up_max", f"must be 1 to {CATCH_UP_MAX}")
        if catch_up is not CatchUp.ALL:
            reason = f"is for catch_up all: {catch_up.value} stores one task at most"
            raise InvalidSchedule("catch_up_max", reason)
    if pause_after_failures is not None and not 1 <= pause_after_failures <= FAILURES_MAX:
        raise InvalidSchedule("pause_after_failures", f"must be 1 to {FAILURES_MAX}")
