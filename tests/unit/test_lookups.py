"""Look-ups of names: bounded, apart, and each name once at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from taskscheduler.adapters.web.lookups import LookUps, domain_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class NameServer:
    """Answers at once, except for names of ``dead.example``, which wait until they are let go."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked[host] += 1
        if domain_of(host) == "dead.example":
            assert self.go.wait(60)
            return ["192.0.2.1"]
        if host == "none.example":
            raise OSError(-2, "Name or service not known")
        if host == "odd.example":
            raise ValueError(host)
        return [f"192.0.2.{port}"]


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.go.set()


async def failing(look_up: LookUps, host: str) -> str:
    try:
        await look_up(host, 80)
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def test_dead_names_hold_up_nobody_else(names: NameServer):
    look_up = LookUps(names, seconds=0.05, at_once=20, per_domain=8)
    dead = [f"{n}.dead.example" for n in range(40)]
    said = Counter(await asyncio.gather(*(failing(look_up, host) for host in dead)))
    assert said["no name server answered within 0.05 s"] == 8
    assert said["too many look-ups of names wait for an answer already"] == 32
    for n in range(50):
        assert await look_up(f"{n}.alive.example", 7) == ["192.0.2.7"]
    # Nor is the loop's own pool, from which a database's name is looked up.
    loop = asyncio.get_running_loop()
    assert await asyncio.wait_for(loop.run_in_executor(None, lambda: 1), 5) == 1


async def test_places_are_given_back_when_the_answer_comes_at_last(names: NameServer):
    look_up = LookUps(names, seconds=0.01, at_once=2)
    assert await failing(look_up, "a.dead.example")
    assert await failing(look_up, "b.dead.example")
    assert "too many" in await failing(look_up, "c.alive.example")
    names.go.set()
    async with asyncio.timeout(20):
        while "too many" in await failing(look_up, "c.alive.example"):
            await asyncio.sleep(0.001)


async def test_a_name_is_asked_once_for_all_who_wait(names: NameServer):
    look_up = LookUps(names, seconds=20)
    waiting = [asyncio.create_task(look_up("a.dead.example", 80)) for _ in range(30)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    names.go.set()
    answers = await asyncio.gather(*waiting[1:])
    assert all(each == ["192.0.2.1"] for each in answers)
    assert names.asked == {"a.dead.example": 1}


async def test_errors_are_errors_of_the_system(names: NameServer):
    look_up = LookUps(names)
    assert await failing(look_up, "none.example") == "Name or service not known"
    assert await failing(look_up, "odd.example") == "odd.example"


async def test_the_systems_own_resolver_is_asked():
    assert "127.0.0.1" in await LookUps()("localhost", 80)
    with pytest.raises(OSError, match=r"."):
        await LookUps()("a..b.invalid", 80)
