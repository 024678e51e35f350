"""What handlers need for as long as their process works: pools, clients, models."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from taskscheduler.domain.errors import InvalidHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


class Span:
    """Opens what ``lifespan`` returns, once, however many workers of the process are at work."""

    def __init__(self, lifespan: Lifespan) -> None:
        """Open nothing yet. Raises InvalidHandler: ``lifespan`` cannot be called without more."""
        try:
            inspect.signature(lifespan).bind()
        except (TypeError, ValueError) as error:
            message = (
                "lifespan must be a function that takes nothing and returns an asynchronous "
                f"context manager: {error}"
            )
            raise InvalidHandler(message) from None
        self._lifespan = lifespan
        self._stack = AsyncExitStack()
        self._users = 0
        self._turn = asyncio.Lock()
        self.state: Any = None
        """What the context manager gives, while it is open."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep it open; the last to leave closes it. Raises what opening it raises."""
        async with self._turn:
            if not self._users:
                self.state = await self._stack.enter_async_context(self._lifespan())
            self._users += 1
        try:
            yield
        finally:
            async with self._turn:
                self._users -= 1
                if not self._users:
                    self.state = None
                    await self._stack.aclose()
