"""The call that names the methods of a path."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, route

from taskscheduler.entrypoints.http.errors import with_head
from taskscheduler.entrypoints.http.middleware.access import reached_by

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler


def options_of(*paths: str) -> HTTPRouteHandler:
    """Return the call for ``paths``, to be mounted before their others.

    The framework's own answer knows one handler of a path, not all.
    """

    async def options(request: Request[Any, Any, Any]) -> Response[None]:
        path = request.scope["path_template"]
        same = [one for one in request.app.routes if path in {one.path, one.path_format}]
        methods = with_head({method for one in same for method in one.methods})
        return Response(None, headers={"Allow": ", ".join(sorted(methods))})

    return route(
        list(paths),
        http_method="OPTIONS",
        opt=reached_by("read", tenants=True),
        status_code=HTTPStatus.NO_CONTENT,
        include_in_schema=False,
    )(options)
