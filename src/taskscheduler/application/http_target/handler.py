"""The kind ``http``: what a task asks for, and what its target's answer means for the task."""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn, Protocol
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import msgspec

from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.printable import printable
from taskscheduler.domain.redaction import GONE
from taskscheduler.domain.verdicts import Discard, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskscheduler.application.http_target.signing import Signer
    from taskscheduler.application.worker.context import Context

KIND: Final = "http"
EXCERPT_CHARACTERS_MAX: Final = 1_000
DATE_CHARACTERS_MAX: Final = 64
RETRY_AFTER_MIN: Final = timedelta(seconds=1)
RETRY_AFTER_MAX: Final = timedelta(days=1)
WORTH_A_RETRY: Final = frozenset({408, 409, 423, 425, 429})
"""The refusals that pass by themselves. 409: an attempt with the same key may still be at work."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]{0,8192}")
_SAID_BY_ALL: Final = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_SECRET_CHARACTERS_MIN: Final = 4
_STATUSES: Final = re.compile(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?")
_OURS: Final = re.compile(
    r"host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*"
    r"|accept-encoding|idempotency-key|webhook-.*|taskscheduler-.*",
    re.IGNORECASE,
)

log = logging.getLogger("taskscheduler.http_target")


class HttpTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a task of the kind ``http``.

    Attributes:
        url: ``http`` or ``https``; without a user or password.
        method: the request's method.
        headers: sent as they are, without spaces around their values, which are no part of them;
            those that the service sets itself are refused.
        body: a string is sent as it is, any other JSON as JSON, null not at all.
        timeout_s: seconds for the whole call, redirects and the answer's body included.
        expected: the statuses that complete the task: ``204``, ``"200-206"``, ``"2xx"``.
        redirects: how many may be followed.
    """

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
    method: Literal["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] = "POST"
    headers: Annotated[dict[str, str], msgspec.Meta(max_length=64)] = {}
    body: msgspec.Raw = msgspec.Raw(b"null")
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0
    expected: Annotated[tuple[int | str, ...], msgspec.Meta(min_length=1, max_length=64)] = ("2xx",)
    redirects: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be sent. No message shows a header's value."""
        bare = {name: value.strip(" \t") for name, value in self.headers.items()}
        msgspec.structs.force_setattr(self, "headers", bare)
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                message = f"headers: {name[:128]!r} is not a header's name"
                raise ValueError(message)
            if _OURS.fullmatch(name):
                message = f"headers: {name!r} is set by the service itself"
                raise ValueError(message)
            if not _HEADER_VALUE.fullmatch(value):
                message = f"headers: the value of {name!r} is not at most 8192 printable ASCII"
                raise ValueError(message)
        for each in self.expected:
            _statuses(each)

    def __repr__(self) -> str:
        """Show neither headers nor body: they hold secrets."""
        return f"HttpTarget({self.method} {shown(self.url)})"

    def expects(self, status: int) -> bool:
        """Tell whether an answer of ``status`` completes the task."""
        return any(status in _statuses(each) for each in self.expected)

    def content(self) -> tuple[bytes, str | None]:
        """Return the body's bytes and their media type, if there is a body."""
        raw = bytes(self.body)
        if raw == b"null":
            return b"", None
        if raw.startswith(b'"'):
            return msgspec.json.decode(raw, type=str).encode(), "text/plain; charset=utf-8"
        return raw, "application/json"


def _statuses(said: int | str) -> range:
    """Return the statuses that ``said`` means. Raises ValueError."""
    found = _STATUSES.fullmatch(str(said))
    if found is None:
        message = f'expected: {str(said)[:32]!r} is neither 204 nor "200-206" nor "2xx"'
        raise ValueError(message)
    hundred, first, last = found.groups()
    if hundred:
        return range(int(hundred) * 100, int(hundred) * 100 + 100)
    statuses = range(int(first), int(last or first) + 1)
    if not statuses:
        message = f"expected: {said!r} ends before it begins"
        raise ValueError(message)
    return statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is to be sent.

    ``headers`` are the task's own and never leave its target's origin, no more than ``proof``, the
    signature, does; ``common`` go along on every redirect.
    """

    url: str
    method: str
    headers: Mapping[str, str]
    proof: Mapping[str, str]
    common: Mapping[str, str]
    body: bytes
    timeout_s: float
    redirects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: ``headers`` by their names in lower case, and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TargetRefused(TaskSchedulerError):
    """The target is not one that may be called; trying again cannot help."""


class TargetUnreachable(TaskSchedulerError):
    """There was no answer, or not all of it. Trying again may help."""


class HttpCaller(Protocol):
    """Makes calls, to allowed addresses only."""

    async def __call__(self, call: Call) -> Answer:
        """Make ``call``.

        Raises:
            TargetRefused: the target, or one it leads to, is not allowed.
            TargetUnreachable: no complete answer within ``call.timeout_s``.
        """
        ...


def http_handlers(
    caller: HttpCaller, signer: Signer, *, version: str, now: Callable[[], float] = time.time
) -> Handlers:
    """Return the handler of the kind ``http``. ``now`` is in seconds since 1970."""
    handlers = Handlers()

    @handlers.register(KIND)
    async def http(context: Context, target: HttpTarget) -> None:  # pyright: ignore[reportUnusedFunction]
        """Call the target; its answer says whether the task is done."""
        call = _call(context, target, signer, version, int(now()))
        said = f"{target.method} {shown(target.url)}"
        try:
            answer = await caller(call)
        except TargetRefused as error:
            raise Discard(_without_secrets(f"{said}: {error}", call)) from None
        except TargetUnreachable as error:
            raise Retry(reason=_without_secrets(f"{said}: {error}", call)) from None
        log.debug("task %s: %s answered %d", context.id, said, answer.status)
        if not target.expects(answer.status):
            _refuse(said, call, answer, now())

    return handlers


def _call(
    context: Context, target: HttpTarget, signer: Signer, version: str, timestamp: int
) -> Call:
    task_id = str(context.id)
    body, media_type = target.content()
    headers = dict(target.headers)
    if media_type is not None and "content-type" not in map(str.lower, headers):
        headers["content-type"] = media_type
    common = {
        "idempotency-key": task_id,
        "taskscheduler-attempt": str(context.attempt),
        "user-agent": f"taskscheduler/{version}",
    }
    taken = {name.lower() for name in headers}
    return Call(
        url=target.url,
        method=target.method,
        headers=headers,
        proof=signer.headers(task_id, timestamp, body),
        common={name: value for name, value in common.items() if name not in taken},
        body=body,
        timeout_s=target.timeout_s,
        redirects=target.redirects,
    )


def _refuse(said: str, call: Call, answer: Answer, now_s: float) -> NoReturn:
    """Raise the verdict on an answer that was not expected."""
    status = answer.status
    reason = f"{said}: {status}{_excerpt(call, answer)}"
    if 300 <= status < 400:  # noqa: PLR2004 - a redirect, in any of its forms
        where = " (redirects are followed only as the payload's `redirects` says)"
        raise Discard(reason + where)
    if 400 <= status < 500 and status not in WORTH_A_RETRY:  # noqa: PLR2004 - the caller's fault
        raise Discard(reason)
    raise Retry(_retry_after(answer.headers, now_s), reason)


def _retry_after(headers: Mapping[str, str], now_s: float) -> timedelta | None:
    """Return the wait that the target asks for, within reason; None if it asks for none.

    A date is counted from the answer's own Date, so that the clocks need not agree.
    """
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        wait = timedelta(seconds=int(said[:9]))
    else:
        until = _moment(said)
        if until is None:
            return None
        since = _moment(headers.get("date", "")) or datetime.fromtimestamp(now_s, UTC)
        wait = until - since
    return min(max(wait, RETRY_AFTER_MIN), RETRY_AFTER_MAX)


def _moment(text: str) -> datetime | None:
    if len(text) > DATE_CHARACTERS_MAX:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _excerpt(call: Call, answer: Answer) -> str:
    """Return the beginning of the answer's body, without the secrets that it may echo."""
    text = " ".join(_without_secrets(answer.body.decode("utf-8", "replace"), call).split())
    shortened = text[:EXCERPT_CHARACTERS_MAX]
    return f": {shortened}{'…' if len(text) > len(shortened) else ''}" if text else ""


def _without_secrets(text: str, call: Call) -> str:
    """Return ``text`` without what only the target is to know: headers, query, signature."""
    secrets = [value for name, value in call.headers.items() if name.lower() not in _SAID_BY_ALL]
    secrets += call.proof.values()
    query = call.url.partition("#")[0].partition("?")[2]
    secrets += [query, *(value for _, value in parse_qsl(query, max_num_fields=None))]
    forms: set[str] = set()
    for secret in secrets:
        # A scheme, such as Bearer, is no secret; what comes after it is.
        for part in (secret, secret.split(" ", 1)[-1], *_passwords(secret)):
            for each in (part, unquote(part)):
                forms |= {each, " ".join(each.split()), json.dumps(each)[1:-1]}
                forms |= {quote(each), quote(each, safe=""), quote_plus(each)}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _SECRET_CHARACTERS_MIN:
            text = text.replace(form, GONE)
    return text


def _passwords(value: str) -> tuple[str, ...]:
    """Return the user and the password that ``value`` carries as Basic authentication does."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        plain = base64.b64decode(encoded).decode()
    except ValueError:
        return ()
    return plain, plain.partition(":")[2]


def shown(url: str) -> str:
    """Return ``url`` as it may be logged: no query, for those hold secrets, and no user."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    try:
        parsed = urlsplit(bare)
        readable = parsed.port is None or parsed.hostname is not None
    except ValueError:
        readable = False
    if not readable:
        # What divides it is not clear, so neither is where a password is in it.
        return f"{bare.partition('://')[0][:16]}://…" if "://" in bare else "…"
    return printable(re.sub(r"//[^/\\]*@", "//", bare)[:512])


__all__ = [
    "KIND",
    "Answer",
    "Call",
    "HttpCaller",
    "HttpTarget",
    "TargetRefused",
    "TargetUnreachable",
    "http_handlers",
    "shown",
]
