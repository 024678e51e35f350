"""The README and the reference in docs/ say what the code does; this says what to change."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer

from taskscheduler.domain.status import TRANSITIONS, Event, TaskStatus
from taskscheduler.entrypoints.cli import app as command_line
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.testing import ManualClock, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
PAGES: Final = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text("utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
}
"""The pages of the documentation: path under docs/ -> text."""
DOCUMENTS: Final = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
QUOTED: Final = re.compile(r"# from (\S+)\n")
PARAMETER: Final = re.compile(r"{(\w+):\w+}")
NAMES: Final = {"batch_id": "<id>", "task_id": "<id>"}
COMMANDS_OF_SERVICES: Final = ("dev", "api", "worker", "migrate")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(
        rf"^```{language}(?: title=\"[^\"]+\")?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def picture() -> str:
    """Draw the transitions."""
    arrows: dict[tuple[TaskStatus, TaskStatus], list[Event]] = {}
    for (status, event), after in TRANSITIONS.items():
        arrows.setdefault((status, after), []).append(event)
    lines = ["stateDiagram-v2", "    [*] --> Pending: put"]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(lines) + "\n"


def test_the_picture_shows_the_transitions():
    assert blocks("mermaid", PAGES["how-it-works.md"]) == [picture()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_compiles(document: Path):
    for block in blocks("python", document.read_text("utf-8")):
        source = textwrap.dedent(QUOTED.sub("", block))
        compile(source, str(document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_what_is_quoted_from_an_example_is_there():
    pages = [README, *PAGES.values()]
    quoted = [block for page in pages for block in blocks("python", page) if QUOTED.match(block)]
    assert len(quoted) >= 4
    for block in quoted:
        found = QUOTED.match(block)
        assert found is not None
        assert QUOTED.sub("", block) in (ROOT / found[1]).read_text("utf-8")


@pytest.mark.parametrize("page", ["README", "library.md"])
def test_the_library_example_runs_as_it_stands(page: str):
    text = PAGES.get(page, README)
    (block,) = [block for block in blocks("python", text) if "asyncio.run(main())" in block]
    command = [sys.executable, "-W", "error", "-c", block]
    ran = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "1200 cents to ada@example.org, attempt 1\n" in ran.stdout
    if page == "library.md":
        assert "there is nothing to receipt" in ran.stderr


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 180


def test_the_test_in_the_readme_passes():
    (block,) = [b for b in blocks("python", PAGES["testing.md"]) if "manual_clock" in b]
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - our own README
    clock = ManualClock()
    asyncio.run(names["test_a_reminder_comes_after_three_days"](in_memory(clock), clock))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("number", range(1, 9))
def test_a_promise_names_what_proves_it(number: int):
    (proof,) = [row[2] for row in rows(section("What is promised")) if row[0] == str(number)]
    files = re.findall(r"\]\((tests/[^)]+\.py)\)", proof)
    assert files, f"promise {number} names no file of tests"
    assert all((ROOT / file).is_file() for file in files)
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/taskscheduler/testing").rglob("*.py")]
    defined = {
        name for file in sources for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", proof))
    assert named, f"promise {number} names no test"
    assert named <= defined, f"not there any more: {named - defined}"


def test_every_route_is_in_the_table():
    told = {
        call for row in rows(PAGES["rest.md"]) for call in re.findall(r"`([A-Z]+ /\S*)`", row[0])
    }
    routes = {
        f"{method} {PARAMETER.sub(lambda found: NAMES.get(found[1], f'<{found[1]}>'), route.path)}"
        for route in create_app(in_memory()).routes
        for method in getattr(route, "methods", ())
        if method not in {"OPTIONS", "HEAD"} and not route.path.startswith("/schema")
    }
    assert told == routes


def commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    group = typer.main.get_command(command_line) if group is None else group
    for command in group.commands.values():
        full = f"{name} {command.name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, full)
        else:
            yield full, command


def test_every_command_is_in_the_table():
    told = {
        command
        for row in rows(PAGES["cli.md"])
        for command in re.findall(r"^`taskscheduler ([^`]+)`$", row[0])
    }
    assert told == {name for name, _ in commands()}


def test_every_option_with_a_twin_in_the_environment_is_in_the_table():
    table = {row[0].strip("`"): row for row in rows(PAGES["configuration.md"])[1:]}
    seen: dict[str, set[str]] = {}
    for name, command in commands():
        for parameter in command.params:
            if not getattr(parameter, "envvar", None):
                continue
            option = parameter.opts[0]
            assert option in table, f"{option} is not in the table"
            _, environment, default, of, _ = table[option]
            variables = parameter.envvar
            variable = variables if isinstance(variables, str) else variables[0]
            assert environment == f"`{variable}`"
            seen.setdefault(option, set()).add(name.split()[0])
            if of != "all":
                assert name.split()[0] in of.split(", "), f"{option} is an option of {name}, too"
            assert default_of(parameter) in default, f"{option} of {name}: {parameter.default!r}"
    assert seen.keys() == table.keys()
    for option, (_, _, _, of, _) in table.items():
        if of != "all":
            assert seen[option] == set(of.split(", ")), option


def default_of(parameter: Any) -> str:
    """Tell what the table should say, at least."""
    match parameter.default:
        case None:
            return ""
        case bool():
            return "off"
        case float() | int() as number:
            return f"{number:g}" if number < 10**5 else str(number)
        case [*several]:
            return " ".join(several)
        case other:
            return str(getattr(other, "value", other))


def test_every_page_is_in_the_sites_navigation():
    told = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert told == {page for page in PAGES if not page.startswith("decisions/")}
