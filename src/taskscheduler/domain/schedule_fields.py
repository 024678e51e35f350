"""Of which types the fields of a schedule are: no store could keep others, and none guesses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

TEXTS: Final = ("name", "cron", "time_zone", "rrule")
LISTS: Final = {"crons": "crons", "except_": "except"}
SPANS: Final = {"every": "every_s", "jitter": "jitter_s", "catch_up_window": "catch_up_window_s"}
NUMBERS: Final = ("max_fires", "catch_up_max", "pause_after_failures")


def check_types(definition: object, choices: Mapping[str, type[StrEnum]]) -> None:
    """Check the types of what ``definition`` has; a choice may be given as its word.

    ``choices`` are the fields that have one of some words.

    Raises:
        InvalidSchedule: a field is of another type, or no such word.
    """

    def given(field: str) -> Any:
        return getattr(definition, field)

    for field in TEXTS:
        _require(field, given(field), str, "a string", optional=field in {"cron", "rrule"})
    for field, told in LISTS.items():
        if isinstance(given(field), str):
            raise InvalidSchedule(told, "must be several strings, not one")
        _require(told, given(field), (tuple, list), "several strings")
        for each in given(field):
            _require(told, each, str, "a string each")
    for field, told in SPANS.items():
        _require(told, given(field), timedelta, "a timedelta", optional=True)
    for field in NUMBERS:
        _require(field, given(field), int, "a whole number", optional=True)
    for field, words in choices.items():
        object.__setattr__(definition, field, _chosen(field, given(field), words))


def _chosen(field: str, value: object, words: type[StrEnum]) -> StrEnum | None:
    if value is None and field in {"gap", "fold"}:
        return None
    if not isinstance(value, str) or value not in set(words):
        raise InvalidSchedule(field, f"must be one of {', '.join(words)}")
    return words(value)


def _require(
    field: str,
    value: object,
    kind: type | tuple[type, ...],
    told: str,
    *,
    optional: bool = False,
) -> None:
    if value is None and optional:
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidSchedule(field, f"must be {told}, not {type(value).__name__}")
