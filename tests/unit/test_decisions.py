"""Decisions have one form: a number, a status, and the same sections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

DECISIONS: Final = Path(__file__).parents[2] / "docs" / "decisions"
PAGES: Final = sorted(DECISIONS.glob("[0-9]*.md"))
NEEDED: Final = ("Context", "Decision", "Consequences")
ALLOWED: Final = {*NEEDED, "Not chosen", "What was measured"}
STATUS: Final = re.compile(r"(?:accepted(?:; .+)?|superseded by \[\d{4}\]\(.+\.md\)|proposed)\.")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_a_decision_has_the_form_of_all(page: Path) -> None:
    title, status, rest = page.read_text("utf-8").split("\n\n", 2)
    assert re.fullmatch(rf"# {page.name[:4]} \S.*", title), title
    assert status.startswith("**Status:** "), f"{page.name} has no status"
    said = " ".join(status.removeprefix("**Status:** ").split())
    assert STATUS.fullmatch(said), said
    sections = re.findall(r"^## (.+)$", rest, re.MULTILINE)
    assert [each for each in sections if each in NEEDED] == list(NEEDED), sections
    assert set(sections) <= ALLOWED, sections


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_what_a_status_points_to_is_there(page: Path) -> None:
    status = page.read_text("utf-8").split("\n\n", 2)[1]
    for number, file in re.findall(r"\[(\d{4})\]\((.+?)\)", status):
        assert file.startswith(number)
        assert (DECISIONS / file).exists(), file


def test_the_index_has_each_under_its_title() -> None:
    index = (DECISIONS / "README.md").read_text("utf-8")
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE)
    titles = [page.read_text("utf-8").partition("\n")[0].removeprefix("# ") for page in PAGES]
    assert listed == [(title, page.name) for title, page in zip(titles, PAGES, strict=True)]
