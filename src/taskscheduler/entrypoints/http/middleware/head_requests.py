"""``HEAD``: the answer to ``GET``, without its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send


def with_heads(app: ASGIApp) -> ASGIApp:
    """Return ``app``, which answers ``HEAD`` wherever it answers ``GET``.

    A stream is answered with its beginning, and then ended.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return
        ended = False

        async def receive_until_ended() -> Any:
            return {"type": "http.disconnect"} if ended else await receive()

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.body":
                if ended:
                    return
                ended = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        # The server's own scope stays as it is: by its method the server knows that no body comes.
        asked: dict[str, Any] = {**scope, "method": "GET"}
        try:
            await app(asked, receive_until_ended, send_head)  # type: ignore[arg-type] - a copy
        finally:
            # What was found out about the request is told of it by whoever is around this.
            found = {name: value for name, value in asked.items() if name != "method"}
            scope.update(found)  # type: ignore[typeddict-item] - of the same names and types

    return answer
