"""One call of a target: over a connection of its own, within a time, reading so much and no more.

It is built on httpcore and not on a client above it: a client reads proxies and passwords from the
environment, keeps cookies, unpacks what is sent packed, and follows redirects by itself.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import httpcore
import httpx

from taskscheduler.adapters.web.addresses import Opened, literal
from taskscheduler.adapters.web.dialing import CheckedDialer
from taskscheduler.adapters.web.heads import Head, MeasuredDialer
from taskscheduler.application.http_target.handler import (
    Answer,
    TargetRefused,
    TargetUnreachable,
    shown,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from taskscheduler.application.http_target.handler import Call

RESPONSE_BYTES_MAX: Final = 64 * 1024
PORT_MAX: Final = 65_535
SCHEMES: Final = ("http", "https")
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
KEPT_ELSEWHERE: Final = frozenset({"accept", "accept-language", "content-type"})


class WebCaller:
    """Calls targets. Nothing is kept between two calls but the trusted authorities."""

    def __init__(
        self,
        dialer: CheckedDialer | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> None:
        """``tls`` says whom to trust: by default the authorities that browsers do.

        Of an answer's body at most ``response_bytes_max`` bytes are read.
        """
        self._dialer = dialer or CheckedDialer(Opened())
        self._tls = tls
        self._response_bytes_max = response_bytes_max

    async def __call__(self, call: Call) -> Answer:
        """Make ``call``; see ``taskscheduler.application.http_target.handler.HttpCaller``."""
        limit = asyncio.timeout(call.timeout_s)
        try:
            async with limit:
                return await self._follow(call)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"no complete answer within {call.timeout_s:g} s"
            raise TargetUnreachable(message) from None
        except httpcore.LocalProtocolError:
            # What it quotes is the request, which holds secrets; and no repetition mends it.
            message = "the request cannot be sent: HTTP does not allow what is in its headers"
            raise TargetRefused(message) from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            said = str(error) or str(error.__cause__ or "")
            message = f"{type(error).__name__}{': ' if said else ''}{said}"
            raise TargetUnreachable(message) from error

    async def _follow(self, call: Call) -> Answer:
        """Call the target and those that it leads to."""
        origin = url = checked(call.url)
        method, body, known = call.method, call.body, True
        for left in range(call.redirects, -1, -1):
            headers = _headers(call, with_body=bool(body), known=known)
            answer = await self._once(method, url, headers, body)
            location = answer.headers.get("location")
            if not call.redirects or answer.status not in REDIRECTS or not location:
                return answer
            if not left:
                break
            url = _next(url, location)
            known = known and _same(origin, url)
            if answer.status == 303 or (answer.status in {301, 302} and method == "POST"):  # noqa: PLR2004
                method, body = ("HEAD" if method == "HEAD" else "GET"), b""
        message = f"it led to more than {call.redirects} others"
        raise TargetRefused(message)

    async def _once(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        # A connection for each call: none is found closed by its other end when it is needed, and
        # none carries one task's request after another's.
        head = Head()
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._trust() if url.scheme == "https" else None,
                max_connections=1,
                max_keepalive_connections=0,
                network_backend=MeasuredDialer(self._dialer, head),
            ) as pool,
            pool.stream(
                method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers={"Host": url.netloc.decode("ascii"), **headers},
                content=body,
                extensions={"trace": head.trace},
            ) as response,
        ):
            return Answer(
                status=response.status,
                headers={
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                },
                body=await self._beginning(response),
            )

    async def _beginning(self, response: httpcore.Response) -> bytes:
        """Read the body as far as it may go; what comes after is left unread."""
        body = bytearray()
        async for part in response.aiter_stream():
            body += part
            if len(body) >= self._response_bytes_max:
                break
        return bytes(body[: self._response_bytes_max])

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls


def checked(url: str | httpx.URL) -> httpx.URL:
    """Return ``url`` parsed, if it is one to be called at all. Raises TargetRefused."""
    try:
        parsed = httpx.URL(url)
        fault = _fault(parsed)
    except (httpx.InvalidURL, ValueError) as error:
        # What it quotes may be a part of a password that divides the URL where none should.
        reason = re.sub(r"'.*'", "'…'", str(error), flags=re.DOTALL)
        message = f"not a URL that can be called: {reason}"
        raise TargetRefused(message) from None
    if fault is not None:
        message = f"not a URL that can be called: {fault}"
        raise TargetRefused(message)
    return parsed


def _fault(url: httpx.URL) -> str | None:
    """Say what is wrong with ``url``. Raises ValueError."""
    if url.scheme not in SCHEMES:
        return "expected http:// or https://"
    if not url.host:
        return "it has no host"
    if url.userinfo:
        return "it has a user in it, which belongs into the header Authorization"
    if url.port is not None and not 0 < url.port <= PORT_MAX:
        return f"there is no port {url.port}"
    literal(url.raw_host.decode("ascii"))
    return None


def _next(url: httpx.URL, location: str) -> httpx.URL:
    try:
        target = checked(url.join(location))
    except TargetRefused as error:
        message = f"it led to {shown(location)!r}: {error}"
        raise TargetRefused(message) from None
    except (httpx.InvalidURL, ValueError):
        message = f"it led to {shown(location)!r}, which is no URL"
        raise TargetRefused(message) from None
    if url.scheme == "https" and target.scheme != "https":
        message = f"it led from https to {shown(str(target))}, where anyone can read along"
        raise TargetRefused(message)
    return target


def _same(origin: httpx.URL, url: httpx.URL) -> bool:
    """Tell whether both are one party: one origin, or its move from http to https."""

    def port(of: httpx.URL) -> int:
        return of.port or {"http": 80, "https": 443}[of.scheme]

    if origin.host != url.host:
        return False
    moved = (origin.scheme, port(origin), url.scheme, port(url)) == ("http", 80, "https", 443)
    return moved or (origin.scheme, port(origin)) == (url.scheme, port(url))


def _headers(call: Call, *, with_body: bool, known: bool) -> dict[str, str]:
    """Return what goes along; ``known`` is whether it goes to the party that the task names."""
    own = {
        name: value
        for name, value in call.headers.items()
        if (known or name.lower() in KEPT_ELSEWHERE)
        and (with_body or not call.body or name.lower() != "content-type")
    }
    if known and with_body == bool(call.body):
        own |= call.proof
    return {**call.common, **own, "accept-encoding": "identity"}
