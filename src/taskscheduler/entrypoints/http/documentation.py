"""What the OpenAPI document says beyond what the handlers' types tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Router
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import ScalarRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task import NAME
from taskscheduler.entrypoints.http.messages import (
    BATCH_MAX,
    Health,
    NewTaskMessage,
    Problem,
    TaskEditMessage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FOO: Final = {"kind": "Foo", "execute_at": "2024-03-30T23:17:10.790146Z"}
EDIT: Final = {"execute_at": "2030-03-30T23:17:10.790146Z", "priority": 0}
BAZ: Final = {"kind": "Baz", "payload": {"any": "JSON"}, "queue": "default", "priority": 0}


class _RawSchema(Schema):
    """A JSON schema that exists already."""

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__()
        self._raw = raw

    def to_schema(self) -> dict[str, Any]:
        return self._raw

    def __hash__(self) -> int:
        return id(self)


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
    example='"0f343b0931126a20f133d67c2b018a3b"',
)


@dataclass
class StoreTask(Operation):
    """The body is decoded by the handler itself, so it is described by hand."""

    def __post_init__(self) -> None:
        """Describe the body."""
        self.request_body = _body(NEW_TASK, FOO)


@dataclass
class StoreTasks(Operation):
    """As ``StoreTask``, for many."""

    def __post_init__(self) -> None:
        """Describe the body."""
        self.request_body = _body(
            Schema(type=OpenAPIType.ARRAY, items=NEW_TASK, min_items=1, max_items=BATCH_MAX),
            [FOO, BAZ],
        )


@dataclass
class EditTask(Operation):
    """As ``StoreTask``, for new values of a task."""

    def __post_init__(self) -> None:
        """Describe the body and the condition."""
        self.request_body = _body(TASK_EDIT, EDIT)
        self.parameters = [*(self.parameters or []), IF_MATCH]


def _body(schema: Schema, example: Any) -> RequestBody:
    return RequestBody(
        required=True,
        content={
            "application/json": OpenAPIMediaType(
                schema=schema, examples={"example": Example(value=example)}
            )
        },
    )


def _problem(description: str, status: int, detail: str) -> ResponseSpec:
    example = {
        "type": "urn:taskscheduler:problem:example",
        "title": description,
        "status": status,
        "detail": detail,
    }
    return ResponseSpec(
        data_container=Problem,
        description=description,
        media_type="application/problem+json",
        generate_examples=False,
        examples=[Example(value=example)],
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
ONE_UUID: Final[dict[str, Any]] = {"one_of": None, "type": OpenAPIType.STRING, **UUID_TEXT}
FILTER: Final = rf"^(status:({'|'.join(TaskStatus)})|(kind|queue):{NAME.pattern})$"
FILTER_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, pattern=FILTER),
}

AWAY: Final[Mapping[int, ResponseSpec]] = {
    503: ResponseSpec(
        Health, description="The database cannot be reached at present", generate_examples=False
    )
}
BAD_REQUEST: Final[Mapping[int, ResponseSpec]] = {400: _400, 503: _503}
STORE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 409: _409, 413: _413, 503: _503}
ONE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 404: _404, 503: _503}
CHANGE_ERRORS: Final[Mapping[int, ResponseSpec]] = {400: _400, 404: _404, 409: _409, 503: _503}

EDIT_ERRORS: Final[Mapping[int, ResponseSpec]] = {
    400: _400,
    404: _404,
    409: _409,
    412: _412,
    413: _413,
    503: _503,
}


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
        render_plugins=[SwaggerRenderPlugin(), ScalarRenderPlugin()],
    )
