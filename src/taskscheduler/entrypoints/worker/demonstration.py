"""The kinds that are built in to try the system with: Foo, Bar and Baz."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.entrypoints.settings import BAR_URL_DEFAULT

if TYPE_CHECKING:
    from taskscheduler.application.worker.context import Context

BAR_TIMEOUT_S: Final = 30.0
FOO_SLEEP_S: Final = 3.0
BAZ_MAX: Final = 343


def demonstration_handlers(bar_url: str = BAR_URL_DEFAULT) -> Handlers:
    """Return the handlers of Foo, Bar and Baz; Bar asks ``bar_url``."""
    handlers = Handlers()

    @handlers.register("Foo")
    async def foo(context: Context) -> None:  # pyright: ignore[reportUnusedFunction]
        """Sleep for three seconds, holding up nobody, and print the task's id."""
        await asyncio.sleep(FOO_SLEEP_S)
        say(f"Foo {context.id}")

    @handlers.register("Bar")
    async def bar(_: Context) -> None:  # pyright: ignore[reportUnusedFunction]
        """Make a GET request and print the status code of the response."""
        import httpx  # noqa: PLC0415 - needed by this kind alone

        async with httpx.AsyncClient(timeout=BAR_TIMEOUT_S) as client:
            response = await client.get(bar_url)
        say(f"Bar {response.status_code}")

    @handlers.register("Baz")
    async def baz(_: Context) -> None:  # pyright: ignore[reportUnusedFunction]
        """Print a number from 0 to 343, all equally likely."""
        say(f"Baz {random.randint(0, BAZ_MAX)}")  # noqa: S311 - not a secret

    return handlers


def say(line: str) -> None:
    """Print ``line`` at once: whoever watches the output of a worker wants to see it live.

    It is one write even where Python does not buffer, for processes may share the output.
    """
    print(line + "\n", end="", flush=True)  # noqa: T201 - printing is what these kinds are for
