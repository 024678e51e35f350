"""Query parameters: each is known to its call, is given once, and means what it says.

A route need not say so itself, and so cannot forget to: what it takes is read from its signature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from taskscheduler.entrypoints.http.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Litestar, Request
    from litestar.typing import FieldDefinition

INTEGER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
KNOWN: Final = "taskscheduler_parameters"
"""In the application's state: what each of its calls takes, as far as that was asked for."""
UNDEMANDING: Final = frozenset({"OPTIONS"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a call takes, in the order of its signature; ``several`` may be given more than once."""

    names: tuple[str, ...]
    several: frozenset[str]
    integers: frozenset[str]

    def check(self, given: Iterable[tuple[str, Any]]) -> None:
        """Refuse what is not known, given twice, or no number. Raises BadRequest."""
        seen: set[str] = set()
        for name, value in given:
            if name not in self.names:
                told = f"known are {' and '.join(self.names)}" if self.names else "there are none"
                raise BadRequest(name, f"unknown parameter; {told}")
            if name in seen and name not in self.several:
                raise BadRequest(name, "must be given once")
            if name in self.integers and INTEGER.fullmatch(value) is None:
                # The framework would take 1e2 for a hundred.
                raise BadRequest(name, "must be a whole number in decimal digits")
            seen.add(name)


async def check_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a request whose query its route does not understand. Raises BadRequest."""
    given = request.query_params.multi_items()
    if not given or request.method in UNDEMANDING:
        return
    known: dict[HTTPRouteHandler, Parameters] = request.app.state.setdefault(KNOWN, {})
    handler = request.route_handler
    assert isinstance(handler, HTTPRouteHandler)  # noqa: S101 - it answers to a request
    if (parameters := known.get(handler)) is None:
        parameters = known[handler] = _of(request.app, handler)
    parameters.check(given)


def _of(app: Litestar, handler: HTTPRouteHandler) -> Parameters:
    models = (
        model
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for served, model in route.route_handler_map.values()
        if served is handler
    )
    expected = next(models).expected_query_params
    fields: dict[str, FieldDefinition] = {}
    for provider in handler.resolve_dependencies().values():
        fields |= provider.parsed_fn_signature.parameters
    fields |= handler.parsed_fn_signature.parameters
    places = {name: place for place, name in enumerate(fields)}
    ordered = sorted(expected, key=lambda each: (places.get(each.field_name, -1), each.field_name))
    return Parameters(
        names=tuple(each.field_alias for each in ordered),
        several=frozenset(each.field_alias for each in ordered if each.is_sequence),
        integers=frozenset(
            each.field_alias
            for each in ordered
            if each.field_name in fields and fields[each.field_name].annotation is int
        ),
    )
