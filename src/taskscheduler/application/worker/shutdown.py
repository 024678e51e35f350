"""How a worker stops: nothing it holds is lost, however little time there is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from taskscheduler.application.worker.claimer import Claimer
    from taskscheduler.application.worker.completer import Completer
    from taskscheduler.application.worker.executor import Executor
    from taskscheduler.application.worker.registration import Registration
    from taskscheduler.application.worker.threads import Threads

CLOSE_TIMEOUT_S: Final = 5.0

log = logging.getLogger("taskscheduler.worker")


async def wind_down(
    claimer: Claimer, executor: Executor, *, forced: asyncio.Event, timeout_s: float
) -> None:
    """Give back what has not begun, and wait for what has, unless that is ``forced``."""
    claimer.give_back(executor.take_waiting())
    finished = asyncio.create_task(executor.idle())
    at_once = asyncio.create_task(forced.wait())
    await asyncio.wait([finished, at_once], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    if not finished.done():
        log.warning("handlers are still running; they are stopped and their tasks given back")
        claimer.give_back(executor.drop_all())
    finished.cancel()


async def close(
    claimer: Claimer,
    executor: Executor,
    completer: Completer,
    registration: Registration,
    threads: Threads,
) -> None:
    """Settle what is left and leave; if the store is away, the leases expire by themselves."""
    claimer.give_back(executor.drop_all())
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await completer.flush()
            await registration.deregister()
    except (StoreUnavailable, TimeoutError) as error:
        log.warning(
            "the worker could not deregister: %s", error or "the store did not answer in time"
        )
    except Exception:
        log.exception("the worker could not deregister")
    threads.shutdown()
