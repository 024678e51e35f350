"""Callers who ask the same at once share one answer, which is never older than the question."""

from __future__ import annotations

import asyncio

import pytest

from taskscheduler.application.client.shared_answer import Shared

pytestmark = pytest.mark.anyio


class Oracle:
    """Answers when it is let, with how many had been asked before."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let: dict[int, asyncio.Event] = {}
        self.shared = Shared(self.look)

    async def look(self, question: str) -> int:
        number = len(self.asked)
        self.asked.append(question)
        self.let[number] = asyncio.Event()
        await self.let[number].wait()
        if question == "bad":
            raise ValueError(question)
        return number

    def ask(self, question: str = "a") -> asyncio.Task[int]:
        return asyncio.create_task(self.shared.ask(question))


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_during_a_look_waits_for_the_next_with_all_others() -> None:
    oracle = Oracle()
    first = oracle.ask()
    await turn()
    late = [oracle.ask() for _ in range(5)]
    await turn()
    assert oracle.asked == ["a"]
    oracle.let[0].set()
    assert await first == 0
    await turn()
    assert oracle.asked == ["a", "a"]
    assert not any(each.done() for each in late)
    later = oracle.ask()
    oracle.let[1].set()
    assert await asyncio.gather(*late) == [1] * 5
    await turn()
    oracle.let[2].set()
    assert await later == 2
    await turn()
    again = oracle.ask()
    await turn()
    oracle.let[3].set()
    assert await again == 3


async def test_other_questions_do_not_wait() -> None:
    oracle = Oracle()
    one, other = oracle.ask(), oracle.ask("b")
    await turn()
    assert oracle.asked == ["a", "b"]
    oracle.let[1].set()
    assert await other == 1
    assert not one.done()
    oracle.let[0].set()
    assert await one == 0


async def test_who_gives_up_does_not_end_it_for_the_others() -> None:
    oracle = Oracle()
    first, second = oracle.ask(), oracle.ask()
    await turn()
    third = oracle.ask()
    await turn()
    first.cancel()
    second.cancel()
    await turn()
    oracle.let[0].set()
    await turn()
    oracle.let[1].set()
    assert await third == 1


async def test_what_goes_wrong_is_told_to_all_and_ends_with_them() -> None:
    oracle = Oracle()
    asked = [oracle.ask("bad") for _ in range(3)]
    await turn()
    oracle.let[0].set()
    await turn()
    oracle.let[1].set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in found] == [ValueError] * 3
    again = oracle.ask("bad")
    await turn()
    oracle.let[2].set()
    with pytest.raises(ValueError, match="bad"):
        await again
