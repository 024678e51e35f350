"""Handlers: which function runs which kind, and how its payload is decoded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from taskscheduler.application.client.kind_names import note
from taskscheduler.application.client.payloads import decoder_of
from taskscheduler.application.worker.batches import SIZE_MAX, Batch
from taskscheduler.application.worker.lifespan import Span
from taskscheduler.application.worker.placement import RunsIn, placed
from taskscheduler.domain.errors import InvalidHandler
from taskscheduler.domain.retry import RetryPolicy
from taskscheduler.domain.values import NAME, NAME_FORM, TIMEOUT_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from taskscheduler.application.worker.context import Context
    from taskscheduler.application.worker.lifespan import Lifespan

Function = TypeVar("Function", bound="Callable[..., Any]")

RETRY_DEFAULT = RetryPolicy()
LINGER_DEFAULT: Final = timedelta(milliseconds=50)
LINGER_MAX: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A registered function.

    ``decode`` turns the stored JSON text into the function's annotated type; it is None for a
    function that takes the context alone. ``engine`` is the word for what runs it outside of the
    worker's process.
    """

    kind: str
    function: Callable[..., Any]
    decode: Callable[[bytes], Any] | None
    is_async: bool
    retry: RetryPolicy
    timeout: timedelta | None
    asks_for_signals: bool = False
    batch: Batch | None = None
    engine: str | None = None
    on_failure: Callable[[Context, BaseException], object] | None = None


class Handlers:
    """The handlers that a worker holds, by kind."""

    def __init__(
        self,
        *,
        lifespan: Lifespan | None = None,
        on_failure: Callable[[Context, BaseException], object] | None = None,
    ) -> None:
        """Start with no handler at all.

        ``lifespan`` takes nothing and returns an asynchronous context manager. A worker enters it
        before its first task and leaves it after its last, once in each process; what it gives is
        ``state`` meanwhile. ``on_failure`` is called on the event loop with the context and the
        error of each attempt that raised one, for whoever gathers errors; it is no verdict, and
        what it raises itself is logged.

        Raises:
            InvalidHandler: ``lifespan`` cannot be called so.
        """
        self._by_kind: dict[str, Handler] = {}
        self._span = None if lifespan is None else Span(lifespan)
        self._on_failure = on_failure
        self._spans: list[Span] = [] if self._span is None else [self._span]

    @property
    def state(self) -> Any:
        """What ``lifespan`` gives, while a worker of this process works; None otherwise."""
        return None if self._span is None else self._span.state

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep open what the handlers need, those that were included among them."""
        async with AsyncExitStack() as stack:
            for span in self._spans:
                await stack.enter_async_context(span.opened())
            yield

    def register(
        self,
        kind: str,
        *,
        retry: RetryPolicy = RETRY_DEFAULT,
        timeout: timedelta | None = None,
        runs_in: RunsIn | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated function for ``kind``, and return it as it is.

        It may be given in place of the kind's name wherever a task is stored.

        The function takes the ``Context`` and, if it wants one, the payload, which is decoded and
        validated into the type that its parameter is annotated with: by msgspec, or by pydantic
        where a model of its is in it. ``async def`` runs on the event loop, plain ``def`` in a
        thread, unless ``runs_in`` says otherwise: ``"loop"``, ``"thread"``, ``"process"`` (of a
        pool; killed when the attempt ends before it) or ``"dask"`` (a cluster). The last two are
        for functions at the top of a module, whose context is an ``OutsideContext``. ``retry`` and
        ``timeout`` hold for tasks that do not bring their own.

        Raises:
            InvalidHandler: the kind is malformed or taken, the function's form does not fit, its
                payload's type cannot be decoded, or an option makes no sense.
        """
        _check(kind, retry, timeout)

        def decorate(function: Function) -> Function:
            if kind in self._by_kind:
                message = f"kind {kind!r} is registered already"
                raise InvalidHandler(message)
            decode = _payload_decoder(kind, function)
            called, is_async, engine = placed(
                kind, function, runs_in, is_async=inspect.iscoroutinefunction(_body(function))
            )
            note(function, kind, decode)
            self._by_kind[kind] = Handler(
                kind=kind,
                function=called,
                decode=decode,
                is_async=is_async,
                engine=engine,
                retry=retry,
                timeout=timeout,
                asks_for_signals=_names_signals(function),
                on_failure=self._on_failure,
            )
            return function

        return decorate

    def register_batch(
        self,
        kind: str,
        *,
        size: int = 100,
        linger: timedelta = LINGER_DEFAULT,
        retry: RetryPolicy = RETRY_DEFAULT,
        timeout: timedelta | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated function for ``kind``: one call for up to ``size`` tasks.

        The function takes a list of contexts and, if it wants one, a list of payloads, annotated
        as ``list[…]``. It returns None if all went well, or a list with an entry for each task: a
        verdict, an exception, or the task's result. What it raises ends the attempt of each. It is
        called when so many are there, or as many as the worker runs at once (``concurrency``), or
        ``linger`` after the first. The rest is as in ``register``.

        Raises:
            InvalidHandler: as in ``register``.
        """
        _check(kind, retry, timeout)
        _check_batch(kind, size, linger)

        def decorate(function: Function) -> Function:
            if kind in self._by_kind:
                message = f"kind {kind!r} is registered already"
                raise InvalidHandler(message)
            decode = _payload_decoder(kind, function, many=True)
            note(function, kind, decode)
            takes = decode is not None
            batch = Batch(function, size=size, linger=linger, takes_payloads=takes)
            self._by_kind[kind] = Handler(
                kind=kind,
                function=batch if takes else batch.alone,
                decode=decode,
                is_async=True,
                retry=retry,
                timeout=timeout,
                asks_for_signals=_names_signals(function),
                on_failure=self._on_failure,
                batch=batch,
            )
            return function

        return decorate

    def include(self, other: Handlers) -> None:
        """Take over the handlers of ``other`` whose kinds are not registered here.

        Its ``lifespan`` is entered as well.
        """
        self._spans += [span for span in other._spans if span not in self._spans]
        for kind, handler in other._by_kind.items():
            self._by_kind.setdefault(kind, handler)

    @property
    def attempts_by_kind(self) -> Mapping[str, int]:
        """The registered kinds, each with the attempts that its retry policy grants."""
        return {kind: handler.retry.max_attempts for kind, handler in self._by_kind.items()}

    def __getitem__(self, kind: str) -> Handler:
        """Return the handler of ``kind``; KeyError if there is none."""
        return self._by_kind[kind]

    def __contains__(self, kind: object) -> bool:
        """Tell whether ``kind`` is registered."""
        return kind in self._by_kind

    def __iter__(self) -> Iterator[str]:
        """Iterate over the kinds."""
        return iter(self._by_kind)

    def __len__(self) -> int:
        """Count the kinds."""
        return len(self._by_kind)


def _check(kind: object, retry: object, timeout: object) -> None:
    """Refuse now what would go wrong when the first task runs. Raises InvalidHandler."""
    if not isinstance(kind, str):
        message = (
            f"the kind must be its name, as in @handlers.register('send_receipt'), "
            f"not {type(kind).__name__}"
        )
        raise InvalidHandler(message)
    if NAME.fullmatch(kind) is None:
        message = f"kind {kind!r}: must be {NAME_FORM}"
        raise InvalidHandler(message)
    if not callable(getattr(retry, "delay", None)) or not hasattr(retry, "max_attempts"):
        message = f"handler of {kind!r}: retry must be a RetryPolicy, not {type(retry).__name__}"
        raise InvalidHandler(message)
    if timeout is None:
        return
    if not isinstance(timeout, timedelta):
        message = f"handler of {kind!r}: timeout must be a timedelta, not {type(timeout).__name__}"
        raise InvalidHandler(message)
    if not timedelta(0) < timeout <= TIMEOUT_MAX:
        message = f"handler of {kind!r}: timeout must be above 0 and at most 366 days"
        raise InvalidHandler(message)


def _check_batch(kind: str, size: object, linger: object) -> None:
    """Refuse a batch that could never be called. Raises InvalidHandler."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= SIZE_MAX:
        message = f"handler of {kind!r}: size must be 1 to {SIZE_MAX}"
        raise InvalidHandler(message)
    if not isinstance(linger, timedelta) or not timedelta(0) <= linger <= LINGER_MAX:
        message = f"handler of {kind!r}: linger must be a timedelta of 0 to 60 s"
        raise InvalidHandler(message)


def _body(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function within a ``functools.partial`` or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _names_signals(function: Callable[..., Any]) -> bool:
    """Tell whether the function's own code calls ``context.signal``, as far as one can see."""
    codes = [getattr(inspect.unwrap(_body(function)), "__code__", None)]
    while codes:
        code = codes.pop()
        if code is None:
            continue
        if "signal" in code.co_names:
            return True
        codes += [each for each in code.co_consts if inspect.iscode(each)]
    return False


def _payload_decoder(
    kind: str, function: Callable[..., Any], *, many: bool = False
) -> Callable[[bytes], Any] | None:
    """Build the decoder for the function's second parameter, or None if it has none.

    If that takes ``many``, of each of them.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        message = f"handler of {kind!r}: its signature cannot be read"
        raise InvalidHandler(message) from None
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if not 1 <= len(positional) <= 2 or any(p not in positional for p in required):  # noqa: PLR2004
        s = "s" if many else ""
        message = f"handler of {kind!r} must take (context{s}) or (context{s}, payload{s})"
        raise InvalidHandler(message)
    if len(positional) == 1:
        return None
    try:
        annotation = _annotation(_body(function), positional[1].name)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        message = f"handler of {kind!r}: the payload's annotation cannot be resolved: {error}"
        raise InvalidHandler(message) from error
    if many:
        annotation = _one_of(kind, annotation)
    try:
        return decoder_of(annotation)
    except TypeError as error:
        message = f"handler of {kind!r}: the payload's type cannot be decoded: {error}"
        raise InvalidHandler(message) from error


def _one_of(kind: str, annotation: Any) -> Any:
    """Return the type of one payload, where a list of them is asked for. Raises InvalidHandler."""
    if any(annotation is each for each in (Any, list, Sequence)):
        return Any
    within = get_args(annotation)
    if get_origin(annotation) not in {list, Sequence} or len(within) != 1:
        message = f"handler of {kind!r}: it takes many payloads, so annotate them as list[...]"
        raise InvalidHandler(message)
    return within[0]


def _annotation(function: Callable[..., Any], parameter: str) -> Any:
    """Return the type that ``parameter`` is annotated with; the others need not be importable."""
    written = inspect.unwrap(function)
    annotations: Mapping[str, Any] = getattr(written, "__annotations__", {})
    if parameter not in annotations:
        return Any
    only = type("_Only", (), {"__annotations__": {parameter: annotations[parameter]}})
    names = getattr(written, "__globals__", {})
    return get_type_hints(only, globalns=names, include_extras=True)[parameter]
