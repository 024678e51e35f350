"""What is said to browsers, and what their pages may do here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar.config.cors import CORSConfig

from taskscheduler.domain.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

Headers = tuple[tuple[bytes, bytes], ...]

ALWAYS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NOT_KEPT: Final = (b"cache-control", b"no-store")
"""Tasks change, and are nobody else's business; a page may say otherwise of itself."""
CSP: Final = b"content-security-policy"
NOTHING: Final = (CSP, b"default-src 'none'; frame-ancestors 'none'")
# Swagger UI and Scalar make markup of text, and so cannot have the dashboard's stricter policy.
_DOCUMENTATION: Final = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"script-src 'self'; font-src 'self' data:; img-src 'self' data:; connect-src 'self'; "
)
DOCUMENTATION: Final = (CSP, _DOCUMENTATION + b"style-src 'self'")
# Scalar puts its colours into the page as styles, and nothing but styles: they can load nothing.
SCALAR: Final = (CSP, _DOCUMENTATION + b"style-src 'self' 'unsafe-inline'")
# Payloads and errors are anybody's: no script or style in the page, and no text becomes markup.
OWN_PAGE: Final = (
    CSP,
    (
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
)
DOCUMENTATION_PATH: Final = "/schema"
SCALAR_PATH: Final = "/schema/scalar"


async def add_headers(message: Message, scope: Scope) -> None:
    """Add what is missing to the beginning of an answer; what a route set itself stays."""
    if message["type"] != "http.response.start":
        return
    headers: list[tuple[bytes, bytes]] = list(message["headers"])
    given = {name.lower(): value for name, value in headers}
    added: list[tuple[bytes, bytes]] = [
        each for each in (*ALWAYS, NOT_KEPT) if each[0] not in given
    ]
    if CSP not in given:
        added.append(_policy(given.get(b"content-type", b""), scope))
    message["headers"] = [*headers, *added]


def _policy(content_type: bytes, scope: Any) -> tuple[bytes, bytes]:
    if not content_type.startswith(b"text/html"):
        return NOTHING
    path: str = scope.get("path", "")
    if path == SCALAR_PATH:
        return SCALAR
    if path == DOCUMENTATION_PATH or path.startswith(DOCUMENTATION_PATH + "/"):
        return DOCUMENTATION
    return OWN_PAGE


def cors_config(origins: Sequence[str]) -> CORSConfig | None:
    """Return what pages of ``origins`` may do; None where that is nothing, which is the default."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "PUT", "POST", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "X-Request-ID",
        ],
        expose_headers=[
            "ETag",
            "Link",
            "Location",
            "Retry-After",
            "WWW-Authenticate",
            "X-Request-ID",
        ],
    )


def foreign_page(origin: str) -> Forbidden:
    """Return the error for a page of ``origin`` that calls an open service."""
    return Forbidden(f"pages of {origin!r} may not call this service; see --cors-origin")


def own_pages_only(origins: Sequence[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Return the middleware of an open service: pages of others than ``origins`` may not call it.

    A browser sends some requests before it asks whether it may. Where nobody needs a key, any
    page that a user of this machine looks at could store tasks.
    """
    trusted = frozenset(origins)

    def wrap(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            origin = host = b""
            for name, value in scope["headers"]:
                if name == b"origin":
                    origin = value
                elif name == b"host":
                    host = value
            if origin and "*" not in trusted:
                text = origin.decode("latin-1")
                if text not in trusted and text.partition("://")[2] != host.decode("latin-1"):
                    raise foreign_page(text)
            await app(scope, receive, send)

        return check

    return wrap
