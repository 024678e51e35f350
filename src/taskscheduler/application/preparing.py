"""Many tasks, each prepared when it is first looked at."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, overload

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.task import NewTask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

SLICE: Final = 1_000


class Prepared(Sequence[NewTask]):
    """So many tasks, which ``prepare`` makes by their index, in slices, as somebody comes to them.

    A store that begins with the first works on them while the last are still to be made. Looking
    raises InvalidTask, with the index of the task at fault.
    """

    def __init__(self, number: int, prepare: Callable[[int], NewTask]) -> None:
        """Make nothing yet."""
        self._length = number
        self._prepare = prepare
        self._tasks: list[NewTask] = []

    def __len__(self) -> int:
        """Return how many there are, prepared or not."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> NewTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[NewTask]: ...
    def __getitem__(self, index: int | slice) -> NewTask | list[NewTask]:
        """Return one or some, and prepare all."""
        self._prepare_to(self._length)
        return self._tasks[index]

    def __iter__(self) -> Iterator[NewTask]:
        """Prepare them slice by slice."""
        for first in range(0, self._length, SLICE):
            self._prepare_to(min(first + SLICE, self._length))
            yield from self._tasks[first : first + SLICE]

    def _prepare_to(self, end: int) -> None:
        with without_collecting():
            for index in range(len(self._tasks), end):
                try:
                    self._tasks.append(self._prepare(index))
                except InvalidTask as error:
                    error.index = index
                    raise


@contextmanager
def without_collecting() -> Generator[None]:
    """Keep the garbage collector away while objects are made by the thousand that all stay.

    It would walk through them, and through all else that the process has, again and again, and
    find nothing. For code that waits for nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
