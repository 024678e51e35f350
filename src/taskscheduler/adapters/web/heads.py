"""How much a target may send before its answer begins: any number of interim answers is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

HEAD_BYTES_MAX: Final = 128 * 1024
READ_BYTES_MAX: Final = 16 * 1024
"""How much is read in one go: the parser goes through it without letting others run."""
HEAD_DONE: Final = "http11.receive_response_headers.complete"


class Head:
    """What is left for the head of one answer, interim answers and all headers included."""

    def __init__(self, bytes_max: int = HEAD_BYTES_MAX) -> None:
        """Allow ``bytes_max``."""
        self._left: int | None = bytes_max

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Hear what httpcore does: once the head is there, the body has a limit of its own."""
        if event == HEAD_DONE:
            self._left = None

    def take(self, count: int) -> None:
        """Count what came. Raises httpcore.RemoteProtocolError: it is too much."""
        if self._left is None:
            return
        self._left -= count
        if self._left < 0:
            message = f"it sent more than {HEAD_BYTES_MAX} bytes before its answer"
            raise httpcore.RemoteProtocolError(message)


class MeasuredStream(httpcore.AsyncNetworkStream):
    """A connection on which ``head`` counts what comes."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, head: Head) -> None:
        """Read from ``stream``."""
        self._stream = stream
        self._head = head

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the interface's
        """Read, and count."""
        data = await self._stream.read(min(max_bytes, READ_BYTES_MAX), timeout)
        self._head.take(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the same
        """Write."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the same
    ) -> httpcore.AsyncNetworkStream:
        """Speak TLS; what comes is counted once it is unpacked."""
        inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return MeasuredStream(inner, self._head)

    def get_extra_info(self, info: str) -> Any:
        """Tell of the connection."""
        return self._stream.get_extra_info(info)


class MeasuredDialer(httpcore.AsyncNetworkBackend):
    """Connects as another one does, and counts what comes on the connection."""

    def __init__(self, dialer: httpcore.AsyncNetworkBackend, head: Head) -> None:
        """Connect by ``dialer``."""
        self._dialer = dialer
        self._head = head

    async def connect_tcp(self, *arguments: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        """Connect."""
        return MeasuredStream(await self._dialer.connect_tcp(*arguments, **named), self._head)

    async def connect_unix_socket(
        self, *arguments: Any, **named: Any
    ) -> httpcore.AsyncNetworkStream:
        """Connect."""
        return await self._dialer.connect_unix_socket(*arguments, **named)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._dialer.sleep(seconds)
