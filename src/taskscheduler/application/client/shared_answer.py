"""Callers who ask the same at the same moment share one answer.

An answer is never older than the question: who asks while a look is under way waits for the next,
which begins when that one ends, together with all others who came meanwhile.
"""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

Question = TypeVar("Question", bound="Hashable")
Answer = TypeVar("Answer")


class Shared(Generic[Question, Answer]):
    """Asks ``look`` for many, each question one look at a time."""

    def __init__(self, look: Callable[[Question], Awaitable[Answer]]) -> None:
        """Nobody asks yet."""
        self._look = look
        self._present: dict[Question, asyncio.Task[Answer]] = {}
        self._next: dict[Question, asyncio.Task[Answer]] = {}

    async def ask(self, question: Question) -> Answer:
        """Return what a look finds that begins from now on. Raises what ``look`` raises."""
        coming = self._next.get(question)
        if coming is None:
            present = self._present.get(question)
            coming = asyncio.create_task(self._after(present, question), context=Variables())
            if present is None:
                self._begin(question, coming)
            else:
                self._next[question] = coming
        # Who no longer waits does not end it for the others.
        return await asyncio.shield(coming)

    async def _after(self, present: asyncio.Task[Answer] | None, question: Question) -> Answer:
        if present is not None:
            await asyncio.wait([present])
            # Those who have just been told may ask again at once: they come along.
            await asyncio.sleep(0)
            self._begin(question, self._next.pop(question))
        try:
            return await self._look(question)
        finally:
            if question not in self._next:
                self._present.pop(question, None)

    def _begin(self, question: Question, look: asyncio.Task[Answer]) -> None:
        self._present[question] = look
        look.add_done_callback(_seen)


def _seen(look: asyncio.Task[object]) -> None:
    if not look.cancelled():
        look.exception()  # looked at, so that asyncio does not report it where nobody waits
