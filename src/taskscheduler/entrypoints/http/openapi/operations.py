"""What the OpenAPI document says beyond what the handlers' types tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import (
    Components,
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
from taskscheduler.domain.values import NAME, UNIQUE_KEY_CHARACTERS_MAX
from taskscheduler.entrypoints.http.openapi import examples
from taskscheduler.entrypoints.http.openapi.error_responses import add_headers
from taskscheduler.entrypoints.http.openapi.examples import Shown
from taskscheduler.entrypoints.http.routes.reference import OwnFiles, OwnPage
from taskscheduler.entrypoints.messages.backfill import BackfillMessage
from taskscheduler.entrypoints.messages.batches import NewBatchMessage
from taskscheduler.entrypoints.messages.limits import LimitEditMessage, PutLimitMessage
from taskscheduler.entrypoints.messages.schedules import (
    NewScheduleMessage,
    PutScheduleMessage,
    ScheduleEditMessage,
)
from taskscheduler.entrypoints.messages.tasks import (
    BATCH_MAX,
    YEARS,
    NewTaskMessage,
    TaskEditMessage,
)

if TYPE_CHECKING:
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


def _raw(message: type[msgspec.Struct], **more: Any) -> _RawSchema:
    """Return the schema of ``message``, which refers to no other.

    It is part of each operation: Litestar drops components that it has not made itself.
    """
    _, components = msgspec.json.schema_components(
        [message], schema_hook=lambda _: YEARS, ref_template="{name}"
    )
    return _RawSchema(_resolved(components[message.__name__], components) | more)


def _resolved(part: Any, components: dict[str, Any]) -> Any:
    """Return ``part`` of a schema with what it refers to in its place, however deep."""
    if isinstance(part, list):
        return [_resolved(each, components) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    fields = cast("dict[str, Any]", part)
    if (name := fields.get("$ref")) is not None:
        own = {key: value for key, value in fields.items() if key != "$ref"}
        fields = own | components[name]
    return {key: _resolved(value, components) for key, value in fields.items()}


NEW_TASK: Final = _raw(NewTaskMessage)
NEW_BATCH: Final = _raw(NewBatchMessage)
TASK_EDIT: Final = _raw(TaskEditMessage, minProperties=1)
# Not as oneOf: of that, generators make a body of any type.
NOT_BOTH: Final[dict[str, Any]] = {
    "if": {"anyOf": [{"required": [name]} for name in ("cron", "crons", "rrule")]},
    "then": {"properties": {"every_s": False}},
}
EITHER: Final[dict[str, Any]] = {**NOT_BOTH, "else": {"required": ["every_s"]}}
NEW_SCHEDULE: Final = _raw(NewScheduleMessage, **EITHER)
PUT_SCHEDULE: Final = _raw(PutScheduleMessage, **EITHER)
SCHEDULE_EDIT: Final = _raw(ScheduleEditMessage, minProperties=1, **NOT_BOTH)
BACKFILL: Final = _raw(BackfillMessage)
PUT_LIMIT: Final = _raw(
    PutLimitMessage,
    anyOf=[{"required": [each]} for each in ("concurrency", "rate", "weight")],
    dependentRequired={"burst": ["rate"]},
)
LIMIT_EDIT: Final = _raw(LimitEditMessage, minProperties=1)
IF_MATCH: Final = Parameter(
    name="If-Match",
    param_in="header",
    description="the ETag of what is changed as it was seen; another state is answered with 412",
    schema=Schema(type=OpenAPIType.STRING),
    example=examples.TAG,
)

IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    param_in="header",
    description="a name for this request: repeated under it, it is answered as the first time",
    schema=Schema(
        type=OpenAPIType.STRING, pattern="^[!-~]+$", max_length=UNIQUE_KEY_CHARACTERS_MAX
    ),
    example="order-4711",
)


@dataclass
class Documented(Operation):
    """A call whose answer is shown by an example."""

    def __post_init__(self) -> None:
        """Show what is answered when all is well, and the headers of what is refused."""
        add_headers(self.responses)
        for status, response in (self.responses or {}).items():
            content = response.content if isinstance(response, OpenAPIResponse) else None
            for media in (content or {}).values() if status.startswith("2") else ():
                media.examples = {"example": Shown(value=_shown(media.schema))}


@dataclass
class Streamed(Operation):
    """A call whose answer is a stream of events."""

    def __post_init__(self) -> None:
        """Show the beginning of one."""
        add_headers(self.responses)
        for status, response in (self.responses or {}).items():
            if status.startswith("2") and isinstance(response, OpenAPIResponse):
                response.content = {
                    "text/event-stream": OpenAPIMediaType(
                        schema=Schema(type=OpenAPIType.STRING),
                        examples={"example": Shown(value=examples.EVENTS)},
                    )
                }


@dataclass
class StoreTask(Documented):
    """The body is decoded by the handler itself, so it is described by hand."""

    def __post_init__(self) -> None:
        """Describe the body and the name that a request may have."""
        super().__post_init__()
        self.parameters = [*(self.parameters or []), IDEMPOTENCY_KEY]
        self.request_body = _body(NEW_TASK, examples.FOO)


@dataclass
class MakeBatch(Documented):
    """The body is decoded by the handler itself, and may be left out."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(NEW_BATCH, examples.BATCH)
        self.request_body.required = False


@dataclass
class StoreTasks(Documented):
    """As ``StoreTask``, for many."""

    def __post_init__(self) -> None:
        """Describe the body and the name that a request may have."""
        super().__post_init__()
        self.parameters = [*(self.parameters or []), IDEMPOTENCY_KEY]
        self.request_body = _body(
            Schema(type=OpenAPIType.ARRAY, items=NEW_TASK, min_items=1, max_items=BATCH_MAX),
            [examples.FOO | {"id": examples.FIRST_ID}, examples.THEN],
        )


@dataclass
class EditTask(Documented):
    """As ``StoreTask``, for new values of a task."""

    def __post_init__(self) -> None:
        """Describe the body and the condition."""
        super().__post_init__()
        self.request_body = _body(TASK_EDIT, examples.EDIT)
        self.parameters = [*(self.parameters or []), IF_MATCH]


@dataclass
class MakeSchedule(Documented):
    """As ``StoreTask``, for a schedule."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(NEW_SCHEDULE, {"name": "nightly-report", **examples.NIGHTLY})


@dataclass
class PutSchedule(Documented):
    """As ``MakeSchedule``, with the name in the path."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(PUT_SCHEDULE, examples.NIGHTLY)


@dataclass
class EditSchedule(Documented):
    """As ``MakeSchedule``, for new values."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(SCHEDULE_EDIT, {"cron": "0 4 * * *"})


@dataclass
class PutLimit(Documented):
    """As ``StoreTask``, for a limit."""

    def __post_init__(self) -> None:
        """Describe the body and the condition."""
        super().__post_init__()
        self.request_body = _body(PUT_LIMIT, examples.LIMIT)
        self.parameters = [*(self.parameters or []), IF_MATCH]


@dataclass
class EditLimit(Documented):
    """As ``PutLimit``, for new values."""

    def __post_init__(self) -> None:
        """Describe the body and the condition."""
        super().__post_init__()
        self.request_body = _body(LIMIT_EDIT, {"concurrency": 20})
        self.parameters = [*(self.parameters or []), IF_MATCH]


@dataclass
class DeleteLimit(Documented):
    """A call with a condition and no body."""

    def __post_init__(self) -> None:
        """Describe the condition."""
        super().__post_init__()
        self.parameters = [*(self.parameters or []), IF_MATCH]


@dataclass
class Backfill(Documented):
    """As ``MakeSchedule``, for a span of fires."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        self.request_body = _body(BACKFILL, examples.SPAN)


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
                schema=schema, examples={"example": Shown(value=example)}
            )
        },
    )


UUID_TEXT: Final[dict[str, Any]] = {"format": "uuid"}
NAME_TEXT: Final[dict[str, Any]] = {"pattern": f"^{NAME.pattern}$"}
ONE_UUID: Final[dict[str, Any]] = {"one_of": None, "type": OpenAPIType.STRING, **UUID_TEXT}
ONE_NAME: Final[dict[str, Any]] = {"one_of": None, "type": OpenAPIType.STRING, **NAME_TEXT}
ONE_TEXT: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.STRING,
    "pattern": r"^[^\u0000]*$",
}
NOW_OR_TIME: Final[dict[str, Any]] = {
    "one_of": [
        Schema(enum=["now"]),
        Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME, pattern=YEARS["pattern"]),
    ]
}
BULK_CURSOR: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.STRING,
    "pattern": rf"^({'|'.join(TaskStatus)}):([0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})?$",
}
GROUP_FILTER: Final = r"group:[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,256}"
FILTER: Final = (
    rf"^(status:({'|'.join(TaskStatus)})|(kind|queue|tag):{NAME.pattern}|{GROUP_FILTER})$"
)
FILTER_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, pattern=FILTER),
}
WATCHED_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(
        type=OpenAPIType.STRING, pattern=rf"^((kind|queue):{NAME.pattern}|{GROUP_FILTER})$"
    ),
}
UUID_LIST: Final[dict[str, Any]] = {
    "one_of": None,
    "type": OpenAPIType.ARRAY,
    "items": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID),
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
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        render_plugins=[OwnFiles("swagger-ui", "/swagger"), OwnPage("scalar", "/scalar")],
    )
