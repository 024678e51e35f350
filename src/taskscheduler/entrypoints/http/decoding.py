"""Bodies of requests: decoded once, and all that is wrong with them told at once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from taskscheduler.domain.moment import parse_moment
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.messages.problems import FieldProblem
from taskscheduler.entrypoints.messages.tasks import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator

Answer = TypeVar("Answer")

FAULTS_MAX: Final = 100
"""How many faults are told; who has made more is helped by these."""
LOOKED_THROUGH_MAX: Final = 1024 * 1024
"""Of a longer body the first fault is told alone: taking it apart may need many times its size."""
NAME_CHARACTERS_MAX: Final = 128
NAMED_FIELD: Final = re.compile(r"(?:missing required|contains unknown) field `([^`]*)`")
PARTS: Final = msgspec.json.Decoder(dict[str, Raw])
ITEMS: Final = msgspec.json.Decoder(list[Raw])


def moment_of(_: type, value: Any) -> Any:
    """Return what a type that JSON does not know is in the body: there is one, the time."""
    if not isinstance(value, str):
        message = f"must be a time in ISO 8601, not {type(value).__name__}"
        raise ValueError(message)  # noqa: TRY004 - what msgspec tells of as a fault of the body
    return Instant.of(parse_moment(value))


def decoder(type_: type[Answer]) -> msgspec.json.Decoder[Answer]:
    """Return what decodes a body that should be a ``type_``."""
    return msgspec.json.Decoder(type_, dec_hook=moment_of)


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Return ``body`` decoded.

    Raises:
        BadRequest: it is not JSON, or not what was expected; it names every place at fault.
    """
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            faults = [_fault(error)]
            if len(body) <= LOOKED_THROUGH_MAX:
                # Beyond the first fault it may turn out to be no JSON at all.
                faults = list(_first(_faults(decoder.type, body))) or faults
            raise BadRequest.of(faults) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest("$", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest("$", "the body is nested too deeply") from None


def _first(faults: Iterator[FieldProblem]) -> Iterator[FieldProblem]:
    return (fault for fault, _ in zip(faults, range(FAULTS_MAX), strict=False))


def _faults(type_: Any, body: bytes | Raw, path: str = "$") -> Iterator[FieldProblem]:
    """Yield what is wrong in ``body``, part by part: of a whole only the first fault is told."""
    try:
        if get_origin(type_) is list:
            (item,) = get_args(type_)
            for index, part in enumerate(ITEMS.decode(body)):
                yield from _faults(item, part, f"{path}[{index}]")
        elif isinstance(type_, type) and issubclass(type_, Struct):
            yield from _faults_of_fields(type_, PARTS.decode(body), path)
    except msgspec.ValidationError as error:
        yield _fault(error, path)


def _faults_of_fields(
    type_: type[Struct], parts: dict[str, Raw], path: str
) -> Iterator[FieldProblem]:
    fields = _fields(type_)
    for name in (name for name in parts if name not in fields):  # in the order of the body
        shown = name[:NAME_CHARACTERS_MAX]
        yield FieldProblem(f"{path}.{shown}", f"Object contains unknown field `{shown}`")
    for name, (required, decoder) in fields.items():
        if (part := parts.get(name)) is None:
            if required:
                reason = f"Object missing required field `{name}`"
                yield FieldProblem(f"{path}.{name}", reason)
            continue
        try:
            decoder.decode(part)
        except msgspec.ValidationError as error:
            yield _fault(error, f"{path}.{name}")


@lru_cache
def _fields(type_: type[Struct]) -> dict[str, tuple[bool, msgspec.json.Decoder[Any]]]:
    return {
        field.encode_name: (field.required, decoder(field.type))
        for field in msgspec.structs.fields(type_)
    }


def _fault(error: msgspec.ValidationError, path: str = "$") -> FieldProblem:
    """Return where ``error`` is, below ``path``, and what it is."""
    reason, found, place = str(error).rpartition(" - at `$")
    if not found:
        reason, place = str(error), ""
    path += place.rstrip("`")
    if (field := NAMED_FIELD.search(reason)) is not None:
        path = f"{path}.{field[1]}"
    return FieldProblem(path, reason)
