"""Tags: names that a producer gives a task, to find it by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.values import require_name

TAGS_MAX: Final = 10


def require_tags(tags: object) -> tuple[str, ...]:
    """Return ``tags`` as they are kept: each once, in the order given.

    Raises:
        InvalidTask: they are too many, or one of them is no name.
    """
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise InvalidTask("tags", f"must be a list of names, not {type(tags).__name__}")
    kept: dict[str, None] = {}
    for number, tag in enumerate(tags):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - of anything, until it is looked at
        if number >= TAGS_MAX:
            raise InvalidTask("tags", f"must be at most {TAGS_MAX} names")
        if not isinstance(tag, str):
            raise InvalidTask("tags", f"must be a list of names, not of {type(tag).__name__}")  # pyright: ignore[reportUnknownArgumentType] - the same
        tag = str.__str__(tag)  # of a member of an enumeration, its value  # noqa: PLW2901
        require_name("tags", tag)
        kept[tag] = None
    return tuple(kept)
