"""A port that fails when it is told to."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

AWAY = StoreUnavailable("the store is away, says the test")


class Faulty:
    """Stands before a port and hands its calls on, except where a test wants otherwise."""

    def __init__(self, port: Any) -> None:
        """Stand before ``port``."""
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._port = port
        self._faults: defaultdict[str, deque[tuple[bool, BaseException]]] = defaultdict(deque)
        self._gates: dict[str, asyncio.Event] = {}
        self._instead: dict[str, Callable[..., Any]] = {}

    def refuse(self, method: str, *errors: BaseException) -> None:
        """Let the next calls of ``method`` raise ``errors``, unheard by the port."""
        self._faults[method].extend((False, error) for error in errors or (AWAY,))

    def lose_answer(self, method: str, error: BaseException = AWAY) -> None:
        """Let the next call of ``method`` be heard by the port, and raise ``error``."""
        self._faults[method].append((True, error))

    def do_instead(self, method: str, function: Callable[..., Any]) -> None:
        """Let calls of ``method`` go to ``function``."""
        self._instead[method] = function

    def hold(self, method: str) -> Callable[[], None]:
        """Let calls of ``method`` wait; return what lets them go on."""
        gate = self._gates[method] = asyncio.Event()

        def let_go() -> None:
            self._gates.pop(method, None)
            gate.set()

        return let_go

    def __getattr__(self, name: str) -> Any:
        """Hand on, or fail."""
        method = self._instead.get(name) or getattr(self._port, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name in self._gates:
                await self._gates[name].wait()
            heard, error = self._faults[name].popleft() if self._faults[name] else (True, None)
            answer = await method(*arguments, **options) if heard else None
            if error is not None:
                raise error
            return answer

        return call
