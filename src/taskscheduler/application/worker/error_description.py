"""What is kept of an error: its type, its message, the end of its traceback.

An exception is somebody else's object. It may be unable to describe itself, and what it says may
hold what no database takes. Nothing here raises, whatever it is given.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.redaction import redacted
from taskscheduler.domain.verdicts import Retry, in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

TRACEBACK_CHARACTERS_MAX: Final = 16_384
MESSAGE_CHARACTERS_MAX: Final = 4_096
TYPE_CHARACTERS_MAX: Final = 256
READ_CHARACTERS_MAX: Final = 65_536
"""How much of either end of a text is looked at; what is kept of it is far less."""
OUR_FILES: Final = frozenset(
    str(Path(__file__).with_name(name))
    for name in (
        "attempt.py",
        "batches.py",
        "executor.py",
        "outside.py",
        "threads.py",
    )
)
"""Where an attempt is run. A traceback begins with their frames; a reader wants the handler's."""


def describe(error: BaseException) -> AttemptError:
    """Return what is kept of an exception."""
    if isinstance(error, Retry):
        return said("Retry", in_words(error.reason))
    return AttemptError(
        _told(lambda: type(error).__qualname__, "its type has no name")[:TYPE_CHARACTERS_MAX],
        _told(lambda: str(error), "its message cannot be shown")[:MESSAGE_CHARACTERS_MAX],
        _told(lambda: _trace(error), "its traceback cannot be shown")[-TRACEBACK_CHARACTERS_MAX:],
    )


def said(type_: str, message: str) -> AttemptError:
    """Return what is kept of a message that came without an exception."""
    return AttemptError(type_, storable(message)[:MESSAGE_CHARACTERS_MAX])


def storable(text: str) -> str:
    """Return ``text`` without secrets, and without what no database takes.

    That is NUL, and halves of surrogate pairs. Called before the text is cut: half a secret has no
    form to be known by.
    """
    # By the methods of ``str`` itself: a message may be of a class of the handler's own.
    kept = str.encode(text, "utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if len(kept) > 2 * READ_CHARACTERS_MAX:
        kept = f"{kept[:READ_CHARACTERS_MAX]}\n[…]\n{kept[-READ_CHARACTERS_MAX:]}"
    return redacted(kept)


def _told(describing: Callable[[], str], otherwise: str) -> str:
    try:
        return storable(describing())
    except BaseException:  # noqa: BLE001 - the outcome counts, and what it is called does not
        return otherwise


def _trace(error: BaseException) -> str:
    shown: TracebackType | None = error.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename in OUR_FILES:
        shown = shown.tb_next
    return "".join(traceback.format_exception(type(error), error, shown))
