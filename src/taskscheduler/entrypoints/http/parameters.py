"""Reading requests by hand: what is wrong in them is answered in one way everywhere."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from litestar.params import PathParameter, QueryParameter

from taskscheduler.domain.errors import InvalidTask, UnknownKind
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.moment import parse_moment
from taskscheduler.domain.query import FILTERS, REPEATED, TaskQuery
from taskscheduler.domain.values import AT_ONCE, NAME, NAME_FORM, in_utc
from taskscheduler.entrypoints.http.decoding import FAULTS_MAX
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.messages.problems import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import datetime

    from litestar import Request

    from taskscheduler.application.client.scheduler import Scheduler

# Nothing in it is tried twice, whatever comes: what was taken is never given back.
TAG: Final = re.compile(r'[ \t,]*+(?:(W/)?"([^"]*+)"[ \t]*+(?=,|$)|[^,]++)')
TAGS_CHARACTERS_MAX: Final = 8192

TaskIdText = Annotated[str, PathParameter(schema_extra=docs.UUID_TEXT)]
Filters = Annotated[
    list[str] | None,
    QueryParameter(
        name="filter",
        description=f"{FILTERS}; repeated, {REPEATED}",
        schema_extra=docs.FILTER_LIST,
    ),
]
Cursor = Annotated[
    str | None,
    QueryParameter(
        description="from the Link header of the page before", schema_extra=docs.ONE_UUID
    ),
]


RetryAt = Annotated[
    str | None,
    QueryParameter(
        description="when it is due instead: now, or a time in ISO 8601 with an offset",
        schema_extra=docs.NOW_OR_TIME,
    ),
]
#: Text, because an int would take the word null, too. So many digits always fit the store's ids.
NUMBER: Final = re.compile("[1-9][0-9]{0,8}")
Number = Annotated[
    str | None,
    QueryParameter(
        description="from the Link header of the page before",
        schema_extra={**docs.ONE_TEXT, "pattern": f"^{NUMBER.pattern}$"},
    ),
]
NameCursor = Annotated[
    str | None,
    QueryParameter(
        description="from the Link header of the page before", schema_extra=docs.ONE_NAME
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRules:
    """What the service accepts. ``accept_unknown_kinds`` lets producers go before workers."""

    accept_unknown_kinds: bool = False


def uuid_of(text: str, path: str = "id") -> UUID:
    """Return the UUID in ``text``. Raises BadRequest."""
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(path, f"{text!r} is not a UUID") from None


def name_of(text: str, what: str, path: str = "name") -> str:
    """Return ``text`` if a ``what``, such as a queue, may be called so. Raises BadRequest."""
    if NAME.fullmatch(text) is None:
        raise BadRequest(path, f"{text!r} is no {what}: {NAME_FORM}")
    return text


def number_of(cursor: str) -> int:
    """Return the number that ``cursor`` is. Raises BadRequest."""
    if NUMBER.fullmatch(cursor) is None:
        raise BadRequest("cursor", "must be as the Link header of the page before has it")
    return int(cursor)


def retry_time_of(text: str | None) -> datetime | None:
    """Return the time that ``at`` asks for. Raises BadRequest."""
    if text is None or text == "now":
        return None if text is None else AT_ONCE
    try:
        # A plus in a query is a blank, and a time has no other.
        return in_utc("at", parse_moment(text.replace(" ", "+") if "T" in text else text))
    except ValueError as error:
        raise BadRequest("at", f"{error}; or the word now") from None
    except InvalidTask as error:
        raise BadRequest("at", error.reason) from None


def query_of(
    filters: Sequence[str] | None, cursor: str | None, limit: int, *, bytes_max: int | None = None
) -> TaskQuery:
    """Return what the parameters ask for.

    Raises:
        BadRequest: one of them cannot be understood.
    """
    before = None if cursor is None else uuid_of(cursor, "cursor")
    with as_filter():
        return TaskQuery.parse(filters or (), before=before, limit=limit, bytes_max=bytes_max)


@contextmanager
def as_filter() -> Generator[None]:
    """Read filters within. Raises BadRequest for one that is none."""
    try:
        yield
    except ValueError as error:
        raise BadRequest("filter", str(error)) from None


async def require_known(scheduler: Scheduler, rules: TaskRules, places: Mapping[str, str]) -> None:
    """Check the kinds in ``places``, each of which was named at its place in the request.

    Raises:
        BadRequest: nobody has registered one of them.
    """
    if rules.accept_unknown_kinds:
        return
    try:
        await scheduler.require_known(places)
    except UnknownKind as error:
        faults = [
            FieldProblem(place, f"unknown kind {kind!r}")
            for kind, place in places.items()
            if kind not in error.known
        ]
        faults[0].reason = str(error)
        raise BadRequest.of(faults[:FAULTS_MAX], known_kinds=list(error.known)) from None


def idempotency_of(request: Request[Any, Any, Any], body: bytes) -> Idempotency | None:
    """Return the name that the client gave its request; the same call and body must follow it."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    digest = hashlib.sha256(request.url.path.encode() + b"\0" + body).digest()
    return Idempotency(key, digest)


def tags_of(request: Request[Any, Any, Any]) -> frozenset[str] | None:
    """Return the strong tags that ``If-Match`` names; None if it is absent, or any will do.

    A weak tag is left out, because it promises less than is asked for here; so is all that is no
    tag. What is left may be nothing, which nothing matches.

    Raises:
        BadRequest: it is longer than tags can be.
    """
    given = request.headers.getall("if-match", [])
    if sum(map(len, given)) > TAGS_CHARACTERS_MAX:
        raise BadRequest("If-Match", f"must be at most {TAGS_CHARACTERS_MAX} characters")
    if not given or any(each.strip() == "*" for each in given):
        return None
    return frozenset(
        f'"{found[2]}"'
        for each in given
        for found in TAG.finditer(each)
        if found[2] is not None and found[1] is None
    )
