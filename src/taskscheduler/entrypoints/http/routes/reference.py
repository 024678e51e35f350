"""The API documentation: Swagger UI and Scalar, whose files lie beside this module.

They come from nowhere else: what a stranger's host sends would run beside the dashboard's key, and
a machine without a way out would show nothing. They hold no data, so they are open to all.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, Response, route
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath

from taskscheduler.entrypoints.http.middleware.access import OPEN
from taskscheduler.entrypoints.http.responses import strong_tag
from taskscheduler.entrypoints.http.routes.dashboard import MEDIA_TYPES, unchanged

if TYPE_CHECKING:
    from litestar import Router

PAGE: Final = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>taskscheduler: API</title>
    <link rel="icon" type="image/svg+xml" href="{home}dashboard/favicon.svg">
    <link rel="stylesheet" href="{here}files/{name}.css">
    <script defer src="{here}files/{name}.js"></script>
    <script defer src="{here}files/begin-{name}.js"></script>
  </head>
  <body>
    <noscript>This page needs JavaScript; the document itself is at {here}openapi.json.</noscript>
    <div id="reference"></div>
  </body>
</html>
"""


class OwnPage(OpenAPIRenderPlugin):
    """A page of the documentation that asks this service alone for all that it needs."""

    def __init__(self, name: str, path: str) -> None:
        """Serve the program that is kept as ``name`` at ``path``."""
        super().__init__(path=path)
        self._name = name

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 - the page fetches it
        """Return the page, whose addresses hold wherever a proxy puts the service."""
        root = request.scope["path"].rstrip("/").endswith("/schema")
        here, home = ("schema/", "") if root else ("", "../")
        return PAGE.format(name=self._name, here=here, home=home).encode()


class OwnFiles(OwnPage):
    """The page, and the files of all of them."""

    def receive_router(self, router: Router) -> None:
        """Add the files."""
        router.register(reference_file)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file, as it is kept."""

    content: bytes
    packed: bool
    media_type: str
    tag: str


@cache
def kept() -> dict[str, Kept]:
    """Return the files by their names. Read once, when somebody looks at a page."""
    found: dict[str, Kept] = {}
    for each in (files("taskscheduler.entrypoints.http") / "reference").iterdir():
        name = each.name.removesuffix(".gz")
        if media_type := MEDIA_TYPES.get(PurePosixPath(name).suffix):
            content = each.read_bytes()
            found[name] = Kept(content, name != each.name, media_type, strong_tag(content))
    return found


@route("/files/{name:str}", http_method=["GET", "HEAD"], opt=OPEN, include_in_schema=False)
async def reference_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """Answer with a file that the pages need."""
    file = kept().get(name)
    if file is None:
        raise NotFoundException
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if unchanged(request, file.tag):
        return Response(b"", status_code=304, media_type=file.media_type, headers=headers)
    content = file.content
    if file.packed and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    elif file.packed:
        content = gzip.decompress(content)
    return Response(content, media_type=file.media_type, headers=headers)
