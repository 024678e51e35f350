"""docs/architecture.md is the map: every path that it names is there, and so is every table."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "taskscheduler"
MAP = (ROOT / "docs" / "architecture.md").read_text()
MIGRATIONS = PACKAGE / "adapters" / "postgres" / "migrations"


def test_every_path_is_there() -> None:
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|sql|md|toml)|(?:[\w-]+/)+)`", MAP))
    assert len(named) > 50
    homes = (ROOT, PACKAGE, MIGRATIONS.parent, ROOT / "docs")
    assert [
        each for each in sorted(named) if not any((home / each).exists() for home in homes)
    ] == []


def test_every_table_is_on_the_map() -> None:
    made = {
        name
        for path in MIGRATIONS.glob("*.sql")
        for name in re.findall(r"CREATE TABLE \{schema\}\.(\w+) ", path.read_text())
        if not name.endswith("_default")
    }
    listed = set(re.findall(r"`(\w+)`", MAP.partition("## The tables")[2].partition("\n## ")[0]))
    assert sorted(made - listed) == []


def test_every_adapter_is_on_the_map() -> None:
    folders = {each.parent.name for each in (PACKAGE / "adapters").glob("*/__init__.py")}
    (line,) = re.findall(r"adapters: ([\w· ]+)", MAP)
    assert sorted(folders - set(line.split(" · "))) == []
