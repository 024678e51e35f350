"""Payloads: from an object to JSON text, and from that to the type that a handler asks for.

msgspec does both, for its own structs, dataclasses, attrs classes, named tuples, typed
dictionaries and all that Python has built in. What has a model of pydantic in it is pydantic's.
Whatever neither can read is refused when the handler is registered, not when its task runs.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import msgspec.inspect

from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JSON_TYPES: Final = (dict, list, str, int, float, bool, type(None))
_any_json: Final = msgspec.json.Decoder(msgspec.Raw)


# -- from an object to JSON text -----------------------------------------------------------------


def encode(payload: object) -> bytes:
    """Return ``payload`` as JSON text.

    Raises:
        InvalidTask: it has no JSON form, or not one that says the same.
    """
    try:
        text = msgspec.json.encode(payload, enc_hook=_encode_other)
        # A ``msgspec.Raw``, wherever it is, is copied as it is: nobody has looked at it yet.
        _any_json.decode(text)
        # What JSON has no number for becomes null, so it can be there only where a null is.
        changed = (
            payload is not None
            and b"null" in text
            and not _is_finite(msgspec.to_builtins(payload, enc_hook=_dump_other))
        )
    except Exception as error:  # a property of the payload may raise anything
        raise InvalidTask("payload", f"has no JSON form: {error}") from error
    if changed:
        raise InvalidTask("payload", "has no JSON form: NaN and infinity are no numbers there")
    return text


def _encode_other(value: Any) -> msgspec.Raw:
    if _is_pydantic(value.__class__):
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())
    raise TypeError(_unencodable(value))


def _dump_other(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return None  # JSON text already: its nulls were never numbers
    if _is_pydantic(value.__class__):
        return value.model_dump(mode="json")
    raise TypeError(_unencodable(value))


def _unencodable(value: object) -> str:
    return f"objects of type {type(value).__name__} cannot be encoded"


def _is_finite(value: Any) -> bool:
    """Tell whether every float in ``value``, which is made of built-in types, is a number."""
    left: list[Any] = [value]
    while left:
        each = left.pop()
        if isinstance(each, float):
            if not math.isfinite(each):
                return False
        elif isinstance(each, dict):
            left.extend(cast("dict[Any, Any]", each).values())
        elif isinstance(each, (list, tuple, set, frozenset)):
            left.extend(cast("Iterable[Any]", each))
    return True


# -- from JSON text to an annotated type ---------------------------------------------------------


def decoder_of(annotation: Any) -> Callable[[bytes], Any]:
    """Return what turns JSON text into ``annotation``.

    It raises ``msgspec.ValidationError`` where the text does not fit; what a class of the user's
    raises in its own code passes through.

    Raises:
        TypeError: nothing can.
    """
    try:
        others = set(_beyond_msgspec(msgspec.inspect.type_info(annotation)))
        if not others:
            return msgspec.json.Decoder(annotation).decode
        decoder = msgspec.json.Decoder(annotation, dec_hook=_decode_other)
    except Exception as error:
        # pydantic takes some unions that msgspec does not.
        by_pydantic = _pydantic_decoder(annotation)
        if by_pydantic is None:
            message = f"msgspec cannot: {error}"
            raise TypeError(message) from error
        return by_pydantic
    foreign = sorted(kind.__qualname__ for kind in others if not _is_pydantic(kind))
    if foreign:
        message = f"neither msgspec nor pydantic can decode {', '.join(foreign)}"
        raise TypeError(message)
    return _pydantic_decoder(annotation) or decoder.decode


def _decode_other(kind: Any, value: Any) -> Any:
    """Let a model of pydantic in the midst of another type be read by itself."""
    return _read(lambda: kind.model_validate(value))


def _pydantic_decoder(annotation: Any) -> Callable[[bytes], Any] | None:
    """Return what reads ``annotation`` by pydantic; None where it is not there, or cannot."""
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is None or not hasattr(pydantic, "TypeAdapter"):
        return None
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except Exception:  # noqa: BLE001 - it has many ways to say no
        return None

    def decode(text: bytes) -> Any:
        return _read(lambda: adapter.validate_json(text))

    return decode


def _read(reading: Callable[[], Any]) -> Any:
    """Call a reader of pydantic; what does not fit is told as msgspec would, without the values."""
    try:
        return reading()
    except ValueError as error:
        errors: Any = getattr(error, "errors", None)
        if errors is None:
            raise
        found = errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(
            f"{each['msg']} - at `{'.'.join(['$', *map(str, each['loc'])])}`" for each in found
        )
        raise msgspec.ValidationError(told) from error


def _beyond_msgspec(info: Any) -> Iterator[type]:
    """Yield the classes within a type that msgspec leaves to others, whatever is given for them."""
    seen: set[int] = set()
    left: list[Any] = [info]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, msgspec.inspect.CustomType):
            if not _may_be_json(each.cls):
                yield each.cls
        elif isinstance(each, msgspec.inspect.DataclassType) and _is_pydantic(each.cls):
            yield each.cls
        elif isinstance(each, (list, tuple)):
            left.extend(cast("Iterable[Any]", each))
        elif isinstance(each, msgspec.Struct):
            left.extend(getattr(each, name) for name in each.__struct_fields__)


def _may_be_json(kind: type) -> bool:
    """Tell whether what JSON is read into is of ``kind`` by itself, as everything is an object."""
    try:
        return any(issubclass(each, kind) for each in JSON_TYPES)
    except TypeError:
        return False


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_validator__")
