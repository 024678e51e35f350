"""What the OpenAPI document says beyond what the handlers' types tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Router
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import ScalarRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIFormat

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task import NAME
from taskscheduler.entrypoints.http import examples
from taskscheduler.entrypoints.http.messages import (
    BATCH_MAX,
    NewTaskMessage,
    Problem,
    Readiness,
    TaskEditMessage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.handlers import HTTPRouteHandler


class _RawSchema(Schema):
    """A JSON schema that exists already."""

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__()
        self._raw = raw

    def to_schema(self) -> dict[str, Any]:
        return self._raw

    def __hash__(self) -> int:
        return id(self)


class _Shown(Example):
    """An example that keeps its nulls: the framework leaves them out."""

    def to_schema(self) -> dict[str, Any]:
        return {"value": self.value}


# Part of each operation: Litestar drops components that it has not made itself.
NEW_TASK: Final = _RawSchema(
    msgspec.json.schema_components([NewTaskMessage])[1][NewTaskMessage.__name__]
)


TASK_EDIT: Final = _RawSchema(
    msgspec.json.schema_components([TaskEditMessage])[1][TaskEditMessage.__name__]
    | {"minProperties": 1}
)
IF_MATCH: Final = Parameter(
    name="If-Match",
    param_in="header",
    description="the ETag of the task as it was seen; another state of it is answered with 412",
    schema=Schema(type=OpenAPIType.STRING),
    example=examples.TAG,
)


@dataclass
class Documented(Operation):
    """A call whose answer is shown by an example."""

    def __post_init__(self) -> None:
        """Show what is answered when all is well."""
        for status, response in (self.responses or {}).items():
            content = response.content if isinstance(response, OpenAPIResponse) else None
            for media in (content or {}).values() if status.startswith("2") else ():
                media.examples = {"example": _Shown(value=_shown(media.schema))}


@dataclass
class Streamed(Operation):
    """A call whose answer is a stream of events."""

    def __post_init__(self) -> None:
        """Show the beginning of one."""
        for status, response in (self.responses or {}).items():
            if status.startswith("2") and isinstance(response, OpenAPIResponse):
                response.content = {
                    "text/event-stream": OpenAPIMediaType(
                        schema=Schema(type=OpenAPIType.STRING),
                        examples={"example": _Shown(value=examples.EVENTS)},
                    )
                }


@dataclass
class StoreTask(Documented):
    """The body is decoded by the handler itself, so it is described by hand."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(NEW_TASK, examples.FOO)


@dataclass
class StoreTasks(Documented):
    """As ``StoreTask``, for many."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(
            Schema(type=OpenAPIType.ARRAY, items=NEW_TASK, min_items=1, max_items=BATCH_MAX),
            [examples.FOO, examples.BAZ],
        )


@dataclass
class EditTask(Documented):
    """As ``StoreTask``, for new values of a task."""

    def __post_init__(self) -> None:
        """Describe the body and the condition."""
        super().__post_init__()
        self.request_body = _body(TASK_EDIT, examples.EDIT)
        self.parameters = [*(self.parameters or []), IF_MATCH]


def _shown(schema: object) -> Any:
    """Return an example of what ``schema`` describes: a type of ours, or a list of them."""
    match schema:
        case Reference(ref=ref):
            return examples.ANSWERS[re.split(r"[/_]", ref)[-1]]
        case Schema(items=Reference() as item):
            return [_shown(item)]
        case _:
            message = f"there is no example of {schema}"
            raise ValueError(message)


def _body(schema: Schema, example: Any) -> RequestBody:
    return RequestBody(
        required=True,
        content={
            "application/json": OpenAPIMediaType(
                schema=schema, examples={"example": _Shown(value=example)}
            )
        },
    )


def _problem(description: str, status: int, detail: str) -> ResponseSpec:
    name = HTTPStatus(status).name
    example = {
        "type": f"urn:taskscheduler:problem:{name.lower().replace('_', '-')}",
        "title": description,
        "status": status,
        "detail": detail,
    }
    return ResponseSpec(
        data_container=Problem,
        description=description,
        media_type="application/problem+json",
        generate_examples=False,
        examples=[_Shown(value=example)],
    )


_400: Final = _problem("Bad Request", 400, "$.execute_at: Expected `datetime` with a timezone")
_404: Final = _problem("Not Found", 404, "no task has the id 018e917e-0000-7000-8000-000000000000")
_409: Final = _problem("Conflict", 409, "cannot cancel a task that is Completed")
_412: Final = _problem(
    "Precondition Failed",
    412,
    "the task 018e917e-0000-7000-8000-000000000000 has changed since it was looked at",
)
_413: Final = _problem("Request Entity Too Large", 413, "the body is over the limit")
_503: Final = _problem("Service Unavailable", 503, "the database cannot be reached at present")

UUID_TEXT: Final[dict[str, Any]] = {"format": "uuid"}
NAME_TEXT: Final[dict[str, Any]] = {"pattern": f"^{NAME.pattern}$"}
ONE_UUID: Final[dict[str, Any]] = {"one_of": None, "type": OpenAPIType.STRING, **UUID_TEXT}
ONE_TEXT: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.STRING,
    "pattern": r"^[^\u0000]*$",
}
BULK_CURSOR: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.STRING,
    "pattern": rf"^({'|'.join(TaskStatus)}):([0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})?$",
}
FILTER: Final = rf"^(status:({'|'.join(TaskStatus)})|(kind|queue):{NAME.pattern})$"
FILTER_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, pattern=FILTER),
}
WATCHED_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, pattern=rf"^(kind|queue):{NAME.pattern}$"),
}
UUID_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID),
}

AWAY: Final[Mapping[int, ResponseSpec]] = {
    503: ResponseSpec(
        Readiness,
        description="The database cannot be reached at present, or its schema does not fit",
        generate_examples=False,
        examples=[_Shown(value=examples.NOT_READY)],
    )
}
BAD_REQUEST: Final[Mapping[int, ResponseSpec]] = {400: _400, 503: _503}
STORE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 409: _409, 413: _413, 503: _503}
ONE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 404: _404, 503: _503}
CHANGE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 404: _404, 409: _409, 503: _503}

BULK_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 409: _409, 503: _503}

EDIT_ERRORS: Final[Mapping[int, ResponseSpec]] = {
    400: _400,
    404: _404,
    409: _409,
    412: _412,
    413: _413,
    503: _503,
}


def _operation_id(handler: HTTPRouteHandler, method: Any, _: Any) -> str:
    """Return what generated clients call the operation."""
    name = handler.name or handler.handler_name
    several = len(handler.http_methods) > 1
    return f"{name}_by_post" if several and method == "POST" else name


def openapi_config(version: str, *, closed: bool = False) -> OpenAPIConfig:
    """Return how the service documents itself, at ``/schema``; ``closed``: it asks for keys."""
    key = SecurityScheme(
        type="http", scheme="bearer", description="made by `taskscheduler keys add`"
    )
    return OpenAPIConfig(
        title="taskscheduler",
        version=version,
        description="Store a task; a worker runs it at or after its time; it is never lost.",
        openapi_router=Router(
            "/schema", route_handlers=[], include_in_schema=False, opt={"scope": "open"}
        ),
        components=Components(security_schemes={"key": key} if closed else None),
        security=[{"key": []}] if closed else None,
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        render_plugins=[SwaggerRenderPlugin(), ScalarRenderPlugin()],
    )
