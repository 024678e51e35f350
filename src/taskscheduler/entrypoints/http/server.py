"""Serving the application: a socket bound first, so that a taken port is one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.middleware.connection import GuardedConnection
from taskscheduler.entrypoints.http.middleware.connection_limits import Door
from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from litestar import Litestar

    from taskscheduler.entrypoints.http.middleware.connection_limits import Guarded
    from taskscheduler.entrypoints.request_metrics import Requests

GRACE_S: Final = 10
TICKS_A_SECOND: Final = 10
"""How often uvicorn looks up by itself."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: whoever runs it decides when it stops."""

    def __init__(self, config: uvicorn.Config, door: Door, on_stop: Callable[[], None]) -> None:
        """Serve as ``config`` says; ``on_stop`` ends what would be answered for ever."""
        super().__init__(config)
        self.door = door
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Look once a second whether connections keep to their limits."""
        if counter % TICKS_A_SECOND == 0:
            connections = cast("Iterable[Guarded]", self.server_state.connections)
            self.door.look(connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Take no more requests and finish those under way; called again, stop at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


def build_server(
    app: Litestar | Callable[..., Awaitable[None]],
    lifespan: Any = "on",
    *,
    on_stop: Callable[[], None] = lambda: None,
    limits: ServerLimits | None = None,
    requests: Requests | None = None,
) -> Server:
    """Return a server for ``app``; its output is left to our logs.

    ``on_stop`` is called when it is told to stop, before it waits for the answers under way.
    What is refused before it reaches ``app`` is counted in ``requests``.
    """
    door = Door((limits or ServerLimits()).within_descriptors(), requests)
    connection: Any = partial(GuardedConnection, door=door)
    return Server(
        uvicorn.Config(
            app,
            http=connection,
            # There are no WebSockets here: they would come past the limits.
            ws="none",
            log_config=None,
            access_log=False,
            lifespan=lifespan,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
            # Whom to believe about callers' addresses is said by --trusted-proxy.
            proxy_headers=False,
        ),
        door,
        on_stop,
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InvalidConfiguration: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        message = f"cannot listen on {host}:{port}: {error}"
        raise InvalidConfiguration(message) from None
    listening.setblocking(False)  # noqa: FBT003 - the standard library's own form
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the URL under which ``listening`` is reached."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(server: Server, listening: socket.socket) -> None:
    """Serve until the server is stopped.

    Raises:
        InvalidConfiguration: the application could not start; the log says why.
    """
    await server.serve(sockets=[listening])
    if not server.started:
        message = "the service could not start"
        raise InvalidConfiguration(message)
    await asyncio.sleep(0)
