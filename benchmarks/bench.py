"""One run: who takes part, on which server, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.contestants import Contestant
    from benchmarks.server import Server

OURS = "taskscheduler"
BARE = "bare psycopg"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    tasks: int = 200_000
    """To drain, for those who are quick."""
    singles: int = 2_000
    starts: int = 300
    scheduled: int = 90
    rows: int = 10_000_000
    """Stored beside what is measured, by ``backlog`` and ``lookup``."""
    minutes: float = 10.0
    ahead: int = 5_000
    """How many tasks the feeder keeps waiting."""
    lifetime: int = 5_000_000
    """How many tasks a worker runs while its memory is watched."""
    requests: int = 20_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, once."""

    name: str
    contestant: str
    number_of_round: int
    value: float
    unit: str
    lower_is_better: bool = False


@dataclass(slots=True)
class Bench:
    """What measures need."""

    server: Server
    contestants: Sequence[Contestant]
    sizes: Sizes
    figures: list[Figure] = field(default_factory=list[Figure])
    failures: list[str] = field(default_factory=list[str])
    number_of_round: int = 0
    quick: bool = False
    """Whether to leave out what no ratio is taken of."""

    def note(
        self,
        name: str,
        contestant: str,
        value: float,
        unit: str,
        *,
        lower_is_better: bool = False,
    ) -> None:
        """Keep a figure."""
        self.figures.append(
            Figure(name, contestant, self.number_of_round, value, unit, lower_is_better)
        )

    def in_turn(self) -> Iterator[Contestant]:
        """Give everybody, another one first each round."""
        first = self.number_of_round % len(self.contestants)
        yield from self.contestants[first:]
        yield from self.contestants[:first]

    def contestant(self, name: str) -> Contestant:
        """Return the one of that name."""
        return next(each for each in self.contestants if each.name == name)
