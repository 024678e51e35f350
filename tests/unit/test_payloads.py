"""What can be a payload: it works, or it is refused when it is registered or stored."""

from __future__ import annotations

import dataclasses
import decimal
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from taskscheduler import Context, Handlers, TaskStatus
from taskscheduler.application.client.payloads import decoder_of, encode
from taskscheduler.domain.errors import InvalidHandler, InvalidTask
from taskscheduler.testing import Drained, drain

if TYPE_CHECKING:
    from taskscheduler import Scheduler


class Model(pydantic.BaseModel):
    a: int
    at: datetime | None = None


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    a: int = pydantic.Field(alias="anInt")


@pydantic.dataclasses.dataclass
class Checked:
    a: int = pydantic.Field(gt=0)


@dataclasses.dataclass
class Plain:
    a: int
    more: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Nesting:
    model: Model
    n: int = 0


@attrs.define
class Attrs:
    a: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.define
class AttrsNesting:
    model: Model


class Struct(msgspec.Struct):
    model: Model


class Typed(TypedDict):
    a: int


class Tuple(NamedTuple):
    a: int


class Stranger:
    """Nobody can decode it."""


GOOD: list[tuple[Any, Any]] = [
    (Model, Model(a=3, at=datetime(2026, 1, 1, tzinfo=UTC))),
    (list[Model], [Model(a=1), Model(a=2)]),
    (dict[str, Model], {"x": Model(a=1)}),
    (Model | None, None),
    (Model | None, Model(a=1)),
    (Model | int, Model(a=1)),
    (Model | Aliased, Aliased(anInt=3)),
    (Aliased, Aliased(anInt=3)),
    (Checked, Checked(a=1)),
    (Plain, Plain(1, [2])),
    (Nesting, Nesting(Model(a=1), 2)),
    (Attrs, Attrs(1)),
    (AttrsNesting, AttrsNesting(Model(a=1))),
    (Struct, Struct(Model(a=1))),
    (Typed, Typed(a=1)),
    (Tuple, Tuple(1)),
    (Any, {"a": 1}),
    (object, {"a": 1}),
    (Mapping[str, int], {"a": 1}),
    (UUID, UUID(int=3)),
    (date, date(2026, 1, 1)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (dict[str, list[float] | None], {"a": None, "b": [1.5]}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("annotation", "payload"), GOOD, ids=[str(each[0]) for each in GOOD])
async def test_it_arrives_as_it_was_stored(
    scheduler_in_memory: Scheduler, annotation: Any, payload: Any
) -> None:
    handlers = Handlers()
    arrived: list[Any] = []

    async def job(_: Context, payload: Any) -> None:
        arrived.append(payload)

    job.__annotations__["payload"] = annotation
    handlers.register("job")(job)
    await scheduler_in_memory.schedule("job", payload)
    assert await drain(scheduler_in_memory, handlers) == Drained(completed=1)
    assert arrived == [payload]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("annotation", "payload", "said"),
    [
        (Model, {"a": "three"}, "$.a"),
        (list[Model], [{"a": 1}, {}], "$.1.a"),
        (Struct, {"model": {}}, "a"),
        (Checked, {"a": 0}, "greater than 0"),
        (Attrs, {"a": 0}, "must be > 0"),
        (Plain, {}, "missing required field `a`"),
        (Typed, {"a": None}, "$.a"),
    ],
)
async def test_what_does_not_fit_fails_at_once_and_names_the_field(
    scheduler_in_memory: Scheduler, annotation: Any, payload: Any, said: str
) -> None:
    """And does not repeat the values: they may be secret."""
    handlers = Handlers()

    async def job(_: Context, payload: Any) -> None: ...

    job.__annotations__["payload"] = annotation
    handlers.register("job")(job)
    task_id = await scheduler_in_memory.schedule("job", payload)
    await drain(scheduler_in_memory, handlers, raises=False)
    task = await scheduler_in_memory.get(task_id)
    assert (task.status, task.attempt) == (TaskStatus.FAILED, 1)
    (attempt,) = await scheduler_in_memory.attempts(task_id)
    assert attempt.error is not None
    assert attempt.error.type == "InvalidPayload"
    assert said in attempt.error.message
    assert "three" not in attempt.error.message


@dataclasses.dataclass
class Strange:
    it: Stranger


@pytest.mark.parametrize(
    "annotation",
    [
        Stranger,
        list[Stranger],
        Strange,
        dict[str, Stranger],
        Stranger | None,
        Model | Stranger,
        type[int],
        Context,
    ],
)
def test_what_nobody_can_decode_is_refused_when_it_is_registered(annotation: Any) -> None:
    async def job(_: Context, payload: Any) -> None: ...

    job.__annotations__["payload"] = annotation
    with pytest.raises(InvalidHandler, match="cannot be decoded"):
        Handlers().register("job")(job)


class Floating(pydantic.BaseModel):
    f: float


BAD: list[Any] = [
    math.nan,
    math.inf,
    [1.0, -math.inf],
    {"a": {"b": [None, math.nan]}},
    (math.nan, None),
    Floating(f=math.nan),
    [Floating(f=math.inf)],
    msgspec.structs.replace(Struct(Model(a=1)), model=Floating(f=math.nan)),
    object(),
    {"a": object()},
    "\ud800",
    {1j},
    {"a": msgspec.Raw(b"{")},
    {"a": [msgspec.Raw(b"1 2")], "b": msgspec.Raw(b"")},
    {"a": {"b": msgspec.Raw(b"NaN")}},
    msgspec.Raw(b"{nope"),
    msgspec.Raw(b""),
    msgspec.Raw(b"1 2"),
]


@pytest.mark.parametrize("payload", BAD, ids=repr)
def test_what_json_cannot_say_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidTask, match="payload: has no JSON form"):
        encode(payload)


@pytest.mark.parametrize("payload", [None, [None], {"a": None, "b": "null"}, 1e308, -0.0, "nan"])
def test_what_json_can_say_is_kept(payload: Any) -> None:
    assert decoder_of(Any)(encode(payload)) == payload


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (msgspec.Raw(b'{"a": null, "b": 1.10, "b": 1e999}'), b'{"a": null, "b": 1.10, "b": 1e999}'),
        ({"a": msgspec.Raw(b"[null]"), "b": None}, b'{"a":[null],"b":null}'),
        ([msgspec.Raw(b"1e999"), None], b"[1e999,null]"),
    ],
)
def test_json_text_is_kept_to_the_letter_wherever_it_is(payload: Any, text: bytes) -> None:
    assert encode(payload) == text


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"delay": timedelta.max}, "delay: leads to a time"),
    ({"delay": timedelta.min}, "delay: leads to a time"),
    ({"delay": timedelta(days=365 * 7500)}, "execute_at: must be from the year"),
    ({"delay": 5}, "delay: must be a timedelta"),
    ({"delay": "5"}, "delay: must be a timedelta"),
    ({"timeout": 5}, "timeout_s: must be a timedelta"),
    ({"timeout": timedelta(0)}, "timeout_s: must be above 0"),
    ({"execute_at": "2026-01-01T00:00:00Z"}, "execute_at: must be a datetime"),
    ({"execute_at": date(2026, 1, 1)}, "execute_at: must be a datetime"),
    ({"execute_at": 1_700_000_000}, "execute_at: must be a datetime"),
    ({"expires_at": 5}, "expires_at: must be a datetime"),
    ({"queue": 5}, "queue: must be a string"),
    ({"queue": None}, "queue: must be a string"),
    ({"id": "01a20928-20ba-7686-92a6-36011161cc11"}, "id: must be a UUID"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("options", "said"), OPTIONS, ids=[str(each[0]) for each in OPTIONS])
async def test_an_option_of_the_wrong_sort_is_told_in_words(
    scheduler_in_memory: Scheduler, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidTask, match=said):
        await scheduler_in_memory.schedule("job", None, **options)


def some_function() -> None: ...


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            some_function,
            "kind: some_function is a function that is registered nowhere; give the name",
        ),
        (5, "kind: must be a string"),
        (None, "kind: must be a string"),
        (["job"], "kind: must be a string"),
        (b"job", "kind: must be a string"),
    ],
)
async def test_a_kind_is_a_string(scheduler_in_memory: Scheduler, kind: Any, said: str) -> None:
    with pytest.raises(InvalidTask, match=said):
        await scheduler_in_memory.schedule(kind, {"a": 1})
    with pytest.raises(InvalidTask, match=said) as found:
        await scheduler_in_memory.schedule_many([("job", None), (kind, None)])
    assert found.value.index == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "spec", [("job",), ("job", 1, None, 4), "jo", {"kind": "job"}, 5, None, ("job", 1, 5)]
)
async def test_a_spec_that_is_none_is_told_by_its_place(
    scheduler_in_memory: Scheduler, spec: Any
) -> None:
    """Nothing is stored, and nothing runs now that names no time as it should."""
    with pytest.raises(InvalidTask) as found:
        await scheduler_in_memory.schedule_many([("job", None), spec])
    assert found.value.index == 1
    assert list(await scheduler_in_memory.list()) == []
