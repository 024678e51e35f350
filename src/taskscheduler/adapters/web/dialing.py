"""Connections to checked addresses, and to nothing else.

A name is resolved once, here, and the connection goes to an address of that very answer. Whoever
checks first and lets the client resolve again can be given another answer the second time.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httpcore
from httpcore import AnyIOBackend

from taskscheduler.adapters.web.addresses import Address, Opened, literal, reason_against
from taskscheduler.adapters.web.lookups import LookUps
from taskscheduler.application.http_target.handler import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

ADDRESSES_MAX: Final = 8
CONNECT_S: Final = 10.0
PORTS: Final = frozenset({80, 443})
PORT_FREE: Final = 1024


class CheckedDialer(httpcore.AsyncNetworkBackend):
    """Connects where it may."""

    def __init__(
        self,
        opened: Opened,
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """``resolve`` answers with addresses; ``network`` makes the connections."""
        self._opened = opened
        self._resolve = resolve or LookUps()
        self._network = network or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to ``host``, which may be a name, unless one of its addresses is closed.

        Raises:
            TargetRefused: it is.
            httpcore.ConnectError: it has no address, or none of them answers.
        """
        addresses = await self._addresses(host, port)
        self._check(host, port, addresses)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:ADDRESSES_MAX]:
            try:
                return await self._network.connect_tcp(
                    str(address),
                    port,
                    timeout=CONNECT_S if timeout is None else min(CONNECT_S, timeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the interface's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL leads here."""
        message = f"{path} is a Unix socket"
        raise TargetRefused(message)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            itself = literal(host)
        except ValueError as error:
            raise TargetRefused(str(error)) from None
        if itself is not None:
            return [itself]
        try:
            return [ip_address(each) for each in await self._resolve(host, port)]
        except OSError as error:
            message = f"{host} cannot be resolved: {error.strerror or error}"
            raise httpcore.ConnectError(message) from error

    def _check(self, host: str, port: int, addresses: Sequence[Address]) -> None:
        """Refuse as soon as one address is closed: such an answer is not an honest one."""
        if self._opened.host(host):
            return
        for address in addresses:
            if self._opened.address(address):
                continue
            reason = reason_against(address)
            if reason is not None:
                message = (
                    f"{host} is at {address}, which is {reason}; an operator can open it with "
                    f"--http-allow"
                )
                raise TargetRefused(message)
            if port not in PORTS and port < PORT_FREE:
                message = (
                    f"port {port} is another service's; 80, 443 and those from {PORT_FREE} on may "
                    f"be called, and any of a target that --http-allow names"
                )
                raise TargetRefused(message)
