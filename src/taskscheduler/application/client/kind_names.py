"""The registered function in place of its kind's name, and its payload checked before it is stored.

``Handlers.register`` returns the function as it is. Which kind it runs is written down here, apart
from it: it can be called, pickled and compared as before.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from taskscheduler.application.worker.context import Context

Payload = TypeVar("Payload")
Decode: TypeAlias = "Callable[[bytes], Any] | None"
Alone: TypeAlias = "Callable[[Context], Any]"
"""A handler that takes no payload."""
Taking: TypeAlias = "Callable[[Context, Payload], Any]"
"""A handler that takes one."""

_kinds: Final[MutableMapping[object, dict[str, Decode]]] = WeakKeyDictionary()


def note(function: Callable[..., Any], kind: str, decode: Decode) -> None:
    """Write down that ``function`` runs ``kind``, and how it reads its payload."""
    with suppress(TypeError):  # one that cannot be looked up is known by its kind's name alone
        _kinds.setdefault(_itself(function), {})[kind] = decode


def kind_of(kind: str | Callable[..., Any], payload: bytes) -> str:
    """Return the name of ``kind``, which may be a registered function that takes ``payload``.

    Raises:
        InvalidTask: the function is not registered, or under several kinds, or does not take it.
    """
    if isinstance(kind, str) or not callable(kind):
        return kind  # of what else it may be, the task says that it is no name
    found: dict[str, Decode] = {}
    with suppress(TypeError):
        found = _kinds.get(_itself(kind), {})
    called = getattr(kind, "__qualname__", None) or repr(kind)
    if not found:
        reason = f"{called} is a function that is registered nowhere; give the name of its kind"
        raise InvalidTask("kind", reason)
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise InvalidTask("kind", f"{called} is registered under {names}; give the name of one")
    ((name, decode),) = found.items()
    if decode is None:
        if payload != b"null":
            raise InvalidTask("payload", f"{called} takes none")
        return name
    try:
        decode(payload)
    except Exception as error:  # a type of the handler's decides what it raises
        raise InvalidTask("payload", f"is not what {called} takes: {error}") from error
    return name


def _itself(function: Callable[..., Any]) -> object:
    """Return what stays the same of ``function``: a bound method is made anew at every look."""
    found: object = function
    return getattr(found, "__func__", found)
