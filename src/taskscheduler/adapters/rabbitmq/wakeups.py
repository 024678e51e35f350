"""Wake-ups over RabbitMQ: one fanout exchange a schema, one exclusive queue a listener.

Every listener has its own queue, because every worker must hear; the broker drops it with the
connection, so nothing piles up for the dead. Hints are transient and short-lived: one that was
not heard within seconds helps nobody. Confirms are waited for by the notifier, never by a request.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from taskscheduler.application.wakeups.listener import listening, reason_of
from taskscheduler.application.wakeups.notifier import WakeUpNotifier
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.redaction import learn_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from aio_pika.abc import (
        AbstractChannel,
        AbstractConnection,
        AbstractExchange,
        AbstractIncomingMessage,
        AbstractQueue,
    )

    from taskscheduler.application.wakeups.listener import WakeUpListener
    from taskscheduler.domain.ports.wakeups import Hints

HINT_BYTES_MAX: Final = 64 * 1024
HEARTBEAT_S: Final = 10
ANSWER_S: Final = 5.0
"""A broker that takes longer than this for anything is taken for away."""
PROBE_EVERY_S: Final = 15.0
WAITING_MAX: Final = 1_000
"""Hints that a listener's queue holds at most; the oldest go first, one is as good as many."""
EXPIRY_S: Final = 10
FAILURES: Final = (
    AMQPError,
    ChannelInvalidStateError,
    OSError,
    TimeoutError,
    RuntimeError,  # what the driver says when its own machinery is closed under it
    StopAsyncIteration,  # and when a broker hangs up in the middle of a greeting
)


class BrokerAway(OSError):
    """The broker cannot be reached, or fell silent."""


class RabbitWakeUps:
    """``WakeUps`` over RabbitMQ."""

    by: str = "rabbitmq"

    def __init__(self, url: str, *, exchange: str) -> None:
        """Use the broker at ``url`` (``amqp://`` or ``amqps://``), through ``exchange``.

        Raises:
            InvalidConfiguration: that is no broker's URL.
        """
        if not url.startswith(("amqp://", "amqps://")):
            message = "the URL of RabbitMQ must begin with amqp:// or amqps://"
            raise InvalidConfiguration(message)
        learn_url(url)
        self._url = url
        self._exchange = exchange
        self._notifier = WakeUpNotifier(self._send, bytes_max=HINT_BYTES_MAX, failures=FAILURES)
        self._connection: AbstractConnection | None = None
        self._publishing: AbstractExchange | None = None

    @property
    def hints(self) -> Hints:
        """See ``WakeUps.hints``."""
        return self._notifier.hints

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """See ``WakeUps.opened``."""
        try:
            yield
        finally:
            await self._notifier.finish()
            await self._hang_up()

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        self._notifier.ring(queues)

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""
        self._notifier.ring_cancellation()

    def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AbstractAsyncContextManager[WakeUpListener]:
        """See ``WakeUps.listen``."""
        return listening(queues, on_cancellation, self._hear, failures=FAILURES)

    # -- ringing ---------------------------------------------------------------------------------

    async def _send(self, hint: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._publishing is None:
                    self._connection, self._publishing = await self._connect()
                await self._publishing.publish(message_of(hint), routing_key="")
        except Exception:
            await self._hang_up()
            raise

    async def _connect(self) -> tuple[AbstractConnection, AbstractExchange]:
        connection = await aio_pika.connect(self._url, heartbeat=HEARTBEAT_S, timeout=ANSWER_S)
        try:
            return connection, await self._declare(await connection.channel())
        except BaseException:
            await close(connection)
            raise

    async def _declare(self, channel: AbstractChannel) -> AbstractExchange:
        return await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.FANOUT)

    async def _hang_up(self) -> None:
        connection, self._connection, self._publishing = self._connection, None, None
        if connection is not None:
            await close(connection)

    # -- listening -------------------------------------------------------------------------------

    async def _hear(self, listener: WakeUpListener, on_hearing: Callable[[], None]) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(ANSWER_S):
                connection = await aio_pika.connect(
                    self._url, heartbeat=HEARTBEAT_S, timeout=ANSWER_S
                )
                stack.push_async_callback(close, connection)
                lost = asyncio.get_running_loop().create_future()
                connection.close_callbacks.add(
                    lambda _, error: lost.done() or lost.set_result(error)
                )
                channel = await connection.channel()
                exchange = await self._declare(channel)
                queue = await channel.declare_queue(
                    exclusive=True,
                    auto_delete=True,
                    arguments={"x-max-length": WAITING_MAX, "x-overflow": "drop-head"},
                )
                await queue.bind(exchange)
                await queue.consume(partial(hear_message, listener), no_ack=True)
            while True:
                # Confirmed by the broker: a connection that has died without a word is found out.
                async with asyncio.timeout(ANSWER_S):
                    await talk_to_itself(channel, queue)
                on_hearing()
                await asyncio.wait([lost], timeout=PROBE_EVERY_S)
                if lost.done():
                    raise BrokerAway(reason_of(lost.result()))


async def hear_message(listener: WakeUpListener, message: AbstractIncomingMessage) -> None:
    """Hand a message to ``listener``; what is not a hint of ours is passed over."""
    listener.hear_text(message.body[:HINT_BYTES_MAX].decode("utf-8", "replace"))


async def talk_to_itself(channel: AbstractChannel, queue: AbstractQueue) -> None:
    """Publish to one's own queue, and wait for the broker's word that it has it."""
    await channel.default_exchange.publish(message_of("p"), routing_key=queue.name)


def message_of(hint: str) -> aio_pika.Message:
    """Return the message that carries ``hint``."""
    return aio_pika.Message(
        hint.encode(), delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT, expiration=EXPIRY_S
    )


async def close(connection: AbstractConnection) -> None:
    """Close ``connection``, however little the other side cares."""
    with suppress(*FAILURES):
        async with asyncio.timeout(1):
            await connection.close()
