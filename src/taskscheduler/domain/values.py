"""What a field of a task may be, whoever asks for it and in whatever way.

Each check raises InvalidTask, which names the field and says what was expected.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType
from uuid import UUID

from taskscheduler.domain.errors import InvalidTask, PayloadTooLarge

if TYPE_CHECKING:
    from taskscheduler.domain.access import Caller


NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
NAME_FORM: Final = "1 to 128 letters, digits, or _ . : -"
GROUP: Final = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,256}")
GROUP_FORM: Final = "1 to 256 printable characters"
GROUP_CHARACTERS_MAX: Final = 256
QUEUE_DEFAULT: Final = "default"
PRIORITY_DEFAULT: Final = 5
PRIORITY_LOWEST: Final = 9
UNIQUE_KEY_CHARACTERS_MAX: Final = 512
UNIQUE_FOR_DEFAULT: Final = timedelta(days=1)
"""How long a unique key lives."""
TENANT_MARK: Final = "\x01"
"""What the unique keys of callers with a queue prefix begin with, and nobody else's may."""
TIMEOUT_MAX: Final = timedelta(days=366)
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Within these, no store and no time zone overflows."""
AT_ONCE: Final = EARLIEST
"""A time in the past means now, on the store's clock; this is one on any clock."""
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
NO_PAYLOAD: Final = b"null"
NOTHING: Final[object] = object()
"""In place of a payload where none was given; None is one."""


@lru_cache(maxsize=4_096)
def require_name(field: str, text: str) -> None:
    """Check that ``text`` can name a kind or a queue; there are few, and many tasks of each.

    What is refused is not remembered, so nobody fills the memory with it.
    """
    if NAME.fullmatch(text) is None:
        raise InvalidTask(field, f"must be {NAME_FORM}")


def require_group(group: object) -> None:
    """Check the name of a group, a tenant, a customer, an order, if there is one.

    Raises:
        InvalidTask: it cannot be one.
    """
    if group is not None and (not isinstance(group, str) or GROUP.fullmatch(group) is None):
        raise InvalidTask("group", f"must be {GROUP_FORM}")


def require_whole(field: str, value: object, least: int, most: int) -> int:
    """Return ``value`` if it is a whole number within bounds: True is none, nor is 5.0.

    Raises:
        InvalidTask: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTask(field, f"must be a whole number, not {_kind_of(value)}")
    if not least <= value <= most:
        raise InvalidTask(field, f"must be {least} to {most}")
    return int(value)


def require_payload(payload: object) -> None:
    """Check that ``payload`` is text in UTF-8 of a length that can be stored.

    Raises:
        InvalidTask: it is not.
    """
    if not isinstance(payload, bytes):
        raise InvalidTask("payload", f"must be JSON text as bytes, not {_kind_of(payload)}")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(PAYLOAD_BYTES_MAX)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise InvalidTask("payload", f"must be UTF-8: {error.reason}") from None


def text_of_payload(payload: object, payload_json: bytes) -> bytes:
    """Return the JSON text of ``payload``, which somebody gave; ``payload_json`` is to be left out.

    Raises:
        InvalidTask: it is made of other types than JSON has, or both were given.
    """
    if isinstance(payload, bytes | bytearray | memoryview):
        raise InvalidTask("payload", "must not be bytes: give JSON text as payload_json")
    if payload_json != NO_PAYLOAD:
        raise InvalidTask("payload", "give payload or payload_json, not both")
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:  # half a surrogate pair is the second
        reason = f"has no JSON form: {error}; Scheduler.prepare takes more types"
        raise InvalidTask("payload", reason) from error


def require_timeout(timeout: object) -> None:
    """Check how long an attempt may take. Raises InvalidTask."""
    if not isinstance(timeout, timedelta):
        raise InvalidTask("timeout_s", f"must be a timedelta, not {_kind_of(timeout)}")
    if not timedelta(0) < timeout <= TIMEOUT_MAX:
        raise InvalidTask("timeout_s", "must be above 0 and at most 366 days")


def require_key(unique_key: object, by: Caller | None) -> None:
    """Check a unique key; what a tenant's begins with is for that tenant alone."""
    if not isinstance(unique_key, str):
        raise InvalidTask("unique_key", f"must be a string, not {_kind_of(unique_key)}")
    space = None if by is None else by.key_space
    own = unique_key if space is None else unique_key.removeprefix(space)
    if not 1 <= len(own) <= UNIQUE_KEY_CHARACTERS_MAX or own.startswith(TENANT_MARK):
        raise InvalidTask(
            "unique_key",
            f"must be 1 to {UNIQUE_KEY_CHARACTERS_MAX} characters, and not begin with U+0001",
        )
    if "\0" in own or not (own.isascii() or _is_text(own)):
        raise InvalidTask("unique_key", "must hold no NUL, and no half of a surrogate pair")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind_of(value: object) -> str:
    return type(value).__name__


def in_utc(field: str, moment: object) -> datetime:
    """Return in UTC a time that a producer gave. Raises InvalidTask."""
    if not isinstance(moment, datetime):
        raise InvalidTask(field, f"must be a datetime, not {_kind_of(moment)}")
    if moment.utcoffset() is None:
        raise InvalidTask(field, "must carry an offset from UTC, such as Z")
    if not EARLIEST <= moment <= LATEST:
        raise InvalidTask(field, "must be from the year 2 to 9000")
    if type(moment) is not datetime:  # other libraries' times, which no store need know
        moment = datetime.combine(moment.date(), moment.time(), moment.tzinfo)
    return moment.astimezone(UTC)


def uuid_of(value: object, field: str = "id") -> UUID:
    """Return ``value`` as a plain UUID. Raises InvalidTask."""
    if not isinstance(value, UUID):
        raise InvalidTask(field, f"must be a UUID, not {_kind_of(value)}")
    return UUID(int=value.int)


def uuid_if_any(field: str, value: object) -> UUID | None:
    """Return ``value`` as a plain UUID, or None as it is. Raises InvalidTask."""
    return None if value is None else uuid_of(value, field)


def text_of(field: str, value: object) -> str:
    """Return the name ``value`` as plain text. Raises InvalidTask."""
    if not isinstance(value, str):
        what = "a function; give the name of its kind" if callable(value) else _kind_of(value)
        raise InvalidTask(field, f"must be a string, {NAME_FORM}, not {what}")
    return str.__str__(value)  # of a member of an enumeration, its value


TaskId = NewType("TaskId", UUID)
WorkerId = NewType("WorkerId", int)
