"""Calls on a cluster of Dask, whose scheduler its own configuration names."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask.config
from distributed import Client
from distributed.scheduler import KilledWorker

from taskscheduler.domain.errors import EngineLost, InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable


class DaskEngine:
    """``Engine`` on a cluster; the address is that of ``DASK_SCHEDULER_ADDRESS``."""

    def __init__(self, address: str | None = None) -> None:
        """Connect once there is something to call.

        Raises:
            InvalidConfiguration: no address is given.
        """
        config: Any = dask.config
        self._address: str | None = address or config.get("scheduler-address", None)
        if self._address is None:
            message = "runs_in='dask' needs the address of a scheduler: DASK_SCHEDULER_ADDRESS"
            raise InvalidConfiguration(message)
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def run(
        self,
        function: Callable[..., bytes],
        argument: bytes,
        *,
        begins: Callable[[], None],
        hears: Callable[[bytes], None],
    ) -> bytes:
        """See ``Engine.run``. What the function says on its way is not carried."""
        del hears
        client = await self._opened()
        begins()
        called = client.submit(function, argument, key=f"taskscheduler-{uuid4().hex}", pure=False)
        try:
            return await called.result()
        except asyncio.CancelledError:
            with suppress(Exception):  # whatever becomes of it, nobody waits for it any more
                await asyncio.shield(called.cancel(force=True))
            raise
        except KilledWorker as error:
            message = f"the cluster gave the call up: {error}"
            raise EngineLost(message) from None
        except OSError as error:
            message = f"the cluster cannot be reached: {error}"
            raise EngineLost(message) from error
        finally:
            called.release()

    async def close(self) -> None:
        """See ``Engine.close``."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                client: Any = Client(self._address, asynchronous=True, set_as_default=False)
                try:
                    await client
                except (OSError, TimeoutError) as error:
                    await client.close()
                    message = f"the cluster at {self._address} cannot be reached: {error}"
                    raise EngineLost(message) from error
                self._client = client
            return self._client
