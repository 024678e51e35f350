"""The dashboard: a page and its parts, which lie beside this module and call the API as anybody.

They hold no data, so they are open to all, like the documentation: what the page shows it asks for
with the key of whoever looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, Response, Router, route
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from taskscheduler.entrypoints.http.errors import HANDLERS
from taskscheduler.entrypoints.http.middleware.access import OPEN
from taskscheduler.entrypoints.http.middleware.browser_security import OWN_PAGE
from taskscheduler.entrypoints.http.responses import strong_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

PAGE: Final = "index.html"
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Not the system's: where its table is odd, browsers would refuse to run the scripts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file, as it is served."""

    content: bytes
    media_type: str
    tag: str


def parts() -> dict[str, Part]:
    """Return the dashboard's files by their paths within it.

    Other files are not served: what is not in here does not exist, whatever a path looks like.
    """
    return dict(_parts_in(files("taskscheduler.entrypoints.http") / "dashboard", ""))


def _parts_in(folder: Traversable, prefix: str) -> Iterator[tuple[str, Part]]:
    for each in folder.iterdir():
        name = f"{prefix}{each.name}"
        if each.is_dir():
            yield from _parts_in(each, f"{name}/")
        elif media_type := MEDIA_TYPES.get(PurePosixPath(each.name).suffix):
            content = each.read_bytes()
            yield name, Part(content, media_type, strong_tag(content))


def page_router() -> Router:
    """Return the routes of the dashboard. Its files are read once, here."""
    found = parts()

    @route("/", http_method=["GET", "HEAD"], opt=OPEN, include_in_schema=False)
    async def dashboard(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answer with the page."""
        return _served(request, found[PAGE])

    @route("/dashboard/{file:path}", http_method=["GET", "HEAD"], opt=OPEN, include_in_schema=False)
    async def dashboard_file(
        request: Request[Any, Any, Any], file: FromPath[str]
    ) -> Response[bytes]:
        """Answer with a file that the page needs."""
        part = found.get(file.lstrip("/"))
        if part is None:
            raise NotFoundException
        return _served(request, part)

    return Router(
        path="/",
        exception_handlers=dict(HANDLERS),
        route_handlers=[dashboard, dashboard_file],
    )


def _served(request: Request[Any, Any, Any], part: Part) -> Response[bytes]:
    # Kept, but never used unasked: after an upgrade no old part may meet a new one.
    headers = {"ETag": part.tag, "Cache-Control": "no-cache"}
    if part.media_type == MEDIA_TYPES[".html"]:
        # Said here, for 304, too: a browser gives the page that it has kept the headers of that.
        name, policy = OWN_PAGE
        headers[name.decode()] = policy.decode()
    same = unchanged(request, part.tag)
    return Response(
        b"" if same else part.content,
        status_code=HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK,
        media_type=part.media_type,
        headers=headers,
    )


def unchanged(request: Request[Any, Any, Any], tag: str) -> bool:
    """Tell whether the caller has already what ``tag`` names."""
    given = ",".join(request.headers.getall("if-none-match", [])).split(",")
    return bool({tag, "*"} & {each.strip().removeprefix("W/") for each in given})
