"""docs/architecture.md is the map: every path that it names is there, and so is every table."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "taskscheduler"
MAP = (ROOT / "docs" / "architecture.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
MIGRATIONS = PACKAGE / "adapters" / "postgres" / "migrations"
HOMES = (ROOT, PACKAGE, MIGRATIONS.parent, ROOT / "docs")


def test_every_path_is_there() -> None:
    text = MAP + GLOSSARY
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|sql|md|toml)|(?:[\w-]+/)+)`", text))
    assert len(named) > 50
    assert [
        each for each in sorted(named) if not any((home / each).exists() for home in HOMES)
    ] == []


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return what ``path`` defines: names, ``Class.member`` of its classes, functions of SQL."""
    text = path.read_text("utf-8")
    if path.suffix == ".sql":
        return frozenset(re.findall(r"FUNCTION \{schema\}\.(\w+)", text))
    names: set[str] = set()

    def look(body: list[ast.stmt], within: str) -> None:
        for each in body:
            match each:
                case ast.ClassDef(name=name):
                    names.add(within + name)
                    look(each.body, within + name + ".")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(within + name)
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    names.add(within + name)
                case _:
                    pass

    look(ast.parse(text).body, "")
    return frozenset(names)


def test_every_symbol_is_where_the_map_says() -> None:
    """In a row of the map, what is named beside files is defined in one of them."""
    found = 0
    rules = MAP.partition("## Where each rule is")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| .*\|$", rules + GLOSSARY, re.MULTILINE):
        named = re.findall(r"`([^`]+)`", row)
        paths = [
            home / each
            for each in named
            for home in HOMES
            if each.endswith((".py", ".sql")) and (home / each).exists()
        ]
        symbols = [
            each
            for each in named
            if re.fullmatch(r"\w+(\.\w+)?", each) and not re.search(r"\.(py|sql)$|^http$", each)
        ]
        for symbol in symbols:
            assert any(symbol in defined_in(path) for path in paths), f"{symbol} in: {row}"
        found += len(symbols)
    assert found >= 40


def test_every_class_that_the_prose_names_is_there() -> None:
    prose = MAP.replace(MAP.partition("## Where each rule is")[2].partition("\n## ")[0], "")
    named = set(re.findall(r"`([A-Z][a-z]+\w*(?:\.\w+)?)`", prose))
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    known = {name for path in files for name in defined_in(path)}
    assert sorted(named - known) == []


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
