"""Where handlers run that run outside of the worker's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Engine(Protocol):
    """Calls plain functions elsewhere: in other processes, or on other machines."""

    async def run(
        self,
        function: Callable[[bytes], bytes],
        argument: bytes,
        *,
        begins: Callable[[], None],
        hears: Callable[[bytes], None],
    ) -> bytes:
        """Return what ``function``, of the top of a module, makes of ``argument`` elsewhere.

        ``begins`` is called when it is about to begin: it may have to wait for a place. ``hears``
        is called with what the function sends on its way, where the engine can carry that. When the
        caller is cancelled, the call is ended, by force if it cannot be asked.

        Raises:
            EngineLost: what ran the function has died, or cannot be reached.
        """
        ...

    async def close(self) -> None:
        """End what is still running, and let go of everything."""
        ...
