"""Attempts that run outside of the worker's process: what goes there, and what comes back.

Both go as bytes made by pickle, between processes of one program. A function is sent as its name,
so it must be one of the top of a module.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle  # between processes of one program
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from taskscheduler.application.worker.progress import report_of
from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.verdicts import Verdict, in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from taskscheduler.application.worker.context import Context
    from taskscheduler.domain.notes import Report
    from taskscheduler.domain.values import TaskId, WorkerId

FACTS: Final = (
    "id",
    "kind",
    "queue",
    "priority",
    "group",
    "attempt",
    "max_attempts",
    "is_last_attempt",
    "process_at",
    "payload_json",
    "token",
    "worker_id",
)


class NotHereError(TaskSchedulerError):
    """The context of a handler that runs outside of the worker's process cannot do this."""


class RemoteError(Exception):
    """What a handler raised elsewhere, as it was described there."""


class OutsideContext:
    """One attempt, as a handler sees it that runs outside of the worker's process.

    It has the facts of ``Context``, and ``progress``, which is not awaited. What needs the store,
    such as ``scheduler``, ``transaction`` and ``step``, is not here: it would be another connection
    in each process. When the attempt should stop, the process is ended.
    """

    id: TaskId
    kind: str
    queue: str
    priority: int
    group: str | None
    attempt: int
    max_attempts: int
    is_last_attempt: bool
    process_at: datetime
    payload_json: bytes
    token: int
    worker_id: WorkerId
    cancelled: Final = False

    def __init__(self, facts: dict[str, Any], send: Callable[[bytes], None] | None = None) -> None:
        """Show ``facts``; progress goes by ``send``."""
        vars(self).update(facts)
        self._send = send
        self.result: object = None

    @property
    def payload(self) -> Any:
        """The payload, of dictionaries, lists, strings, numbers, booleans and None."""
        import json  # noqa: PLC0415 - few ask for it

        return json.loads(self.payload_json)

    def progress(
        self, fraction: float | None = None, message: str | None = None, data: object = None
    ) -> None:
        """Say how far the attempt is; see ``Context.progress``. What is too large is left out."""
        if self._send is not None:
            self._send(pickle.dumps((self.token, fraction, message, data)))

    def __getattr__(self, name: str) -> NoReturn:
        """Say why it is not here."""
        if name.startswith("_"):
            raise AttributeError(name)
        message = f"context.{name} is not there in a handler that runs outside of the worker"
        raise NotHereError(message)


@dataclass(frozen=True, slots=True)
class _Call:
    """What is sent: a function by its name, its context's facts, and its payload, if it has one."""

    function: Callable[..., Any]
    facts: dict[str, Any]
    payload: tuple[Any, ...]


def packed(function: Callable[..., Any], context: Context, payload: tuple[Any, ...]) -> bytes:
    """Return a call as it is sent.

    Raises:
        TypeError: the function or the payload cannot be sent.
    """
    try:
        facts = {name: getattr(context, name) for name in FACTS}
        return pickle.dumps(_Call(function, facts, payload))
    except Exception as error:  # whatever an object's own methods raise
        message = f"this cannot be sent to another process: {error}"
        raise TypeError(message) from error


def perform(call: bytes, send: Callable[[bytes], None] | None = None) -> bytes:
    """Call what ``packed`` has made, there, and return its outcome as it is sent back."""
    try:
        asked: _Call = pickle.loads(call)  # noqa: S301 - our own process has made it
        context = OutsideContext(asked.facts, send)
        result = asked.function(context, *asked.payload)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        if isinstance(result, Verdict):
            return pickle.dumps((False, _sent(result)))
        return pickle.dumps((True, context.result if result is None else result))
    except BaseException as error:  # noqa: BLE001 - the outcome of the attempt, whatever it is
        return pickle.dumps((False, _sent(error)))


def report_from(context: Context, said: bytes) -> Report | None:
    """Return the progress that an attempt says outside; None if it is not that of ``context``.

    Raises:
        InvalidProgress: it makes no sense, or is too large.
    """
    token, fraction, message, data = pickle.loads(said)  # noqa: S301 - a process of ours
    if token != context.token:
        return None
    return report_of(context.lease, fraction, message, data)


def _sent(error: BaseException) -> tuple[Any, ...]:
    """Return what is sent of an exception: itself, if that can be, and its description anyway."""
    if isinstance(error, Verdict):
        return (type(error), error.args, vars(error)), "", "", ""
    itself: bytes | None = None
    try:
        itself = pickle.dumps(error)
        pickle.loads(itself)  # noqa: S301 - what was just made
    except Exception:  # noqa: BLE001 - whatever an object's own methods raise
        itself = None
    told = "".join(traceback.format_exception(error))
    return itself, type(error).__qualname__, _words(error), told


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the same
        return in_words(error)


def unpacked(outcome: bytes) -> Any:
    """Return or raise what ``perform`` came to."""
    good, value = pickle.loads(outcome)  # noqa: S301 - a process of ours has made it
    if good:
        return value
    itself, name, message, told = value
    if isinstance(itself, tuple):
        kind, arguments, fields = cast("tuple[type[Verdict], Any, dict[str, Any]]", itself)
        verdict = kind.__new__(kind, *arguments)
        vars(verdict).update(fields)
        raise verdict
    like_it: Any = type(name, (RemoteError,), {})
    error: BaseException = like_it(message) if itself is None else pickle.loads(itself)  # noqa: S301 - the same
    raise error from RemoteError("\n" + told)
