"""The shape of an error, as RFC 9457 has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    pass


class FieldProblem(Struct):
    """One field at fault."""

    path: str
    reason: str


class Problem(Struct, omit_defaults=True, kw_only=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    known_kinds: list[str] | None = None
