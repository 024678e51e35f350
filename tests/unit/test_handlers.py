"""Which functions can be handlers, and how their payloads are decoded."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
import pytest

from taskscheduler import Context, Discard, Handlers, RetryPolicy, Scheduler, Worker
from taskscheduler.domain.errors import InvalidHandler


class Receipt(msgspec.Struct):
    """A payload."""

    to: str
    at: datetime | None = None


async def with_payload(context: Context, receipt: Receipt) -> None:
    """Take both."""


async def without_payload(context: Context) -> None:
    """Take the context alone."""


def plain(context: Context, receipt: Receipt) -> None:
    """Run in a thread."""


def test_the_payload_becomes_the_annotated_type() -> None:
    """Validated on the way."""
    handlers = Handlers()
    handlers.register("mail")(with_payload)
    decode = handlers["mail"].decode
    assert decode is not None
    assert decode(b'{"to": "zoe"}') == Receipt("zoe")
    with pytest.raises(msgspec.ValidationError, match=r"\$\.to"):
        decode(b'{"to": 3}')


def test_constraints_are_validated() -> None:
    """As msgspec spells them."""

    async def handle(_: Context, count: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...

    handlers = Handlers()
    handlers.register("count")(handle)
    decode = handlers["count"].decode
    assert decode is not None
    with pytest.raises(msgspec.ValidationError):
        decode(b"0")


def test_a_payload_without_annotation_is_any_json() -> None:
    """Decoded as it is."""

    async def handle(_: Context, payload) -> None: ...  # type: ignore[no-untyped-def]

    handlers = Handlers()
    handlers.register("any")(handle)  # pyright: ignore[reportUnknownArgumentType]
    decode = handlers["any"].decode
    assert decode is not None
    assert decode(b'{"a": [1, null]}') == {"a": [1, None]}


def test_who_takes_the_context_alone_decodes_nothing() -> None:
    """Whatever the payload is."""
    handlers = Handlers()
    handlers.register("ping")(without_payload)
    assert handlers["ping"].decode is None


def test_what_was_registered_is_told() -> None:
    """Kind by kind."""
    handlers = Handlers()
    policy = RetryPolicy(max_attempts=3)
    registered = handlers.register("a", retry=policy, timeout=timedelta(seconds=5))(with_payload)
    handlers.register("b")(plain)
    assert registered is with_payload
    assert handlers["a"].is_async
    assert not handlers["b"].is_async
    assert handlers["a"].timeout == timedelta(seconds=5)
    assert handlers.attempts_by_kind == {"a": 3, "b": 20}
    assert "a" in handlers
    assert "c" not in handlers
    assert sorted(handlers) == ["a", "b"]
    assert len(handlers) == 2


def test_including_others_keeps_what_is_there() -> None:
    """An app's own handler stands before a built-in one of the same kind."""
    mine, theirs = Handlers(), Handlers()
    mine.register("a")(with_payload)
    theirs.register("a")(plain)
    theirs.register("b")(plain)
    mine.include(theirs)
    assert mine["a"].function is with_payload
    assert mine["b"].function is plain


@pytest.mark.parametrize("kind", ["", "a b", "ü", "a" * 129])
def test_a_kind_must_be_a_name(kind: str) -> None:
    """Said before any function is looked at."""
    with pytest.raises(InvalidHandler, match="must be"):
        Handlers().register(kind)


def test_a_kind_is_registered_once() -> None:
    """The second is refused and the first stays."""
    handlers = Handlers()
    handlers.register("a")(with_payload)
    with pytest.raises(InvalidHandler, match="already"):
        handlers.register("a")(plain)
    assert handlers["a"].function is with_payload


async def no_parameters() -> None:
    """Take nothing."""


async def three(context: Context, one: int, two: int) -> None:
    """Take too much."""


async def keyword_needed(context: Context, *, one: int) -> None:
    """Need what nobody hands in."""


async def any_number(*contexts: Context) -> None:
    """Take no parameter by name."""


@pytest.mark.parametrize("function", [no_parameters, three, keyword_needed, any_number])
def test_a_form_that_does_not_fit_is_refused(function: Any) -> None:
    """When it is registered, and not when it is called."""
    handlers = Handlers()
    with pytest.raises(InvalidHandler, match=r"must take \(context\)"):
        handlers.register("a")(function)
    assert "a" not in handlers


async def optional_keyword(context: Context, receipt: Receipt, *, dry: bool = False) -> None:
    """Take an option that has a default."""


def test_options_with_defaults_do_no_harm() -> None:
    """They keep their defaults."""
    handlers = Handlers()
    handlers.register("a")(optional_keyword)
    assert handlers["a"].decode is not None


def test_a_type_that_cannot_be_decoded_is_refused() -> None:
    """When it is registered."""

    async def handle(_: Context, payload: type[int] | set[complex] | Context) -> None: ...

    with pytest.raises(InvalidHandler, match="msgspec"):
        Handlers().register("a")(handle)


def test_an_annotation_that_cannot_be_resolved_is_refused() -> None:
    """When it is registered."""

    async def handle(_: Context, payload: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(InvalidHandler, match="resolved"):
        Handlers().register("a")(handle)  # pyright: ignore[reportUnknownArgumentType]


class Mailer:
    """A handler with a state of its own."""

    async def __call__(self, context: Context, receipt: Receipt) -> None:
        """Handle."""

    async def method(self, context: Context, receipt: Receipt) -> None:
        """Handle."""


def test_bound_methods_are_handlers() -> None:
    """Their own first parameter is taken."""
    handlers = Handlers()
    handlers.register("a")(Mailer().method)
    assert handlers["a"].is_async
    assert handlers["a"].decode is not None


def test_partial_functions_are_handlers() -> None:
    """What is bound is not asked for."""

    async def handle(context: Context, receipt: Receipt, times: int) -> None: ...

    handlers = Handlers()
    handlers.register("a")(functools.partial(handle, times=3))
    assert handlers["a"].is_async


def test_callable_objects_are_handlers() -> None:
    """An object whose ``__call__`` is a coroutine function runs on the event loop."""
    handlers = Handlers()
    handlers.register("a")(Mailer())
    assert handlers["a"].is_async
    assert handlers["a"].decode is not None


@pytest.mark.anyio
async def test_who_gathers_errors_is_told_of_each_attempt_that_raises() -> None:
    told: list[tuple[str, int, str]] = []

    def gather(context: Context, error: BaseException) -> None:
        told.append((context.kind, context.attempt, str(error)))
        raise RuntimeError

    handlers = Handlers(on_failure=gather)
    once = RetryPolicy(max_attempts=1)

    @handlers.register("wrong", retry=once)
    async def wrong(context: Context) -> None:
        raise ValueError("wrong")

    @handlers.register("discards", retry=once)
    async def discards(context: Context) -> None:
        raise Discard

    @handlers.register("good")
    async def good(context: Context) -> None: ...

    async with Scheduler.in_memory() as scheduler:
        others = Handlers()
        others.include(handlers)
        for kind in handlers:
            await scheduler.schedule(kind)
        await Worker(scheduler, others).run(until_drained=True)
        statuses = {task.kind: task.status.value for task in await scheduler.list()}
    assert told == [("wrong", 1, "wrong")]
    assert statuses == {"wrong": "Failed", "discards": "Failed", "good": "Completed"}
