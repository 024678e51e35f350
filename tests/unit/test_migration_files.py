"""The migrations as text: no function is left over that nobody has called."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "taskscheduler"
MIGRATIONS = sorted((PACKAGE / "adapters" / "postgres" / "migrations").glob("*.sql"))
MADE = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION \{schema\}\.(\w+)\(")
CALLED = re.compile(r"\{schema\}\.(\w+)\(")

# What people call in SQL. schedule_1 keeps its parameters for ever, for who calls it by name.
PUBLIC = {"schedule", "schedule_1"}


def test_every_function_is_called() -> None:
    """Or a later migration made a newer form of it: programs of before still call the old one."""
    made = {name: path.name for path in MIGRATIONS for name in MADE.findall(path.read_text())}
    assert len(made) > 20
    migrations = "\n".join(each.read_text() for each in MIGRATIONS)
    sent = "\n".join(each.read_text() for each in PACKAGE.rglob("*.py"))
    called = set(CALLED.findall(MADE.sub("", migrations) + sent))
    newest = {name.rpartition("_")[0]: file for name, file in made.items() if name in called}
    left = {
        name: file
        for name, file in made.items()
        if name not in called | PUBLIC and newest.get(name.rpartition("_")[0], "") <= file
    }
    assert left == {}


def test_the_numbers_are_the_order() -> None:
    numbers = [each.name[:4] for each in MIGRATIONS]
    assert numbers == sorted(set(numbers))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", each.name) for each in MIGRATIONS)
