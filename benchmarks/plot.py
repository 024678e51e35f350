"""The picture: one block for each measure, one bar for each contestant, the range as a whisker.

Written by hand, for it is a dozen rectangles: no plotting library is needed to look at figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from benchmarks.bench import OURS
from benchmarks.figures import Spread, number, spread
from benchmarks.report import by_round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Figure

SHOWN: Final = (
    ("drain 1", "Worked off by one process, tasks/s"),
    ("drain 2", "Worked off by two processes, tasks/s"),
    ("schedule 1", "Stored one at a time by one caller, tasks/s"),
    ("schedule 10 callers", "Stored one at a time by ten callers, tasks/s"),
    ("schedule in bulk", "Stored in bulk, tasks/s"),
    ("start p99", "From commit to start, p99, ms (less is better)"),
    ("scheduled start p99", "From the time asked for to start, p99, ms (less is better)"),
)
WIDTH: Final = 760
LABELS: Final = 150
VALUES: Final = 110
BAR: Final = 16
ROW: Final = 21
TITLE: Final = 34
OUR_COLOUR: Final = "#2563eb"
COLOUR: Final = "#9ca3af"
INK: Final = "#6b7280"  # read on white and on black


def picture(figures: Sequence[Figure], captions: Sequence[str]) -> str:
    """Return an SVG document of what there is of ``SHOWN``."""
    parts: list[str] = []
    y = 0
    for name, title in SHOWN:
        found = _spreads(figures, name)
        if len(found) > 1:
            parts.append(_text(0, y + TITLE - 12, title, weight="bold"))
            y += TITLE
            longest = max(each.high for each in found.values())
            for contestant, each in found.items():
                parts.extend(_row(y, contestant, each, longest))
                y += ROW
    y += ROW
    for caption in captions:
        parts.append(_text(0, y, caption))
        y += BAR
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _spreads(figures: Sequence[Figure], name: str) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for contestant in dict.fromkeys(each.contestant for each in figures if each.name == name):
        values = spread(by_round(figures, name, contestant).values())
        if values is not None:
            found[contestant] = values
    return found


def _row(y: int, contestant: str, values: Spread, longest: float) -> list[str]:
    room = WIDTH - LABELS - VALUES
    scale = room / longest if longest else 0.0
    colour = OUR_COLOUR if contestant == OURS else COLOUR
    middle = y + BAR / 2
    parts = [
        _text(LABELS - 8, y + BAR - 4, contestant, anchor="end"),
        (
            f'<rect x="{LABELS}" y="{y}" width="{values.median * scale:.1f}" height="{BAR}" '
            f'rx="2" fill="{colour}"/>'
        ),
    ]
    if values.rounds > 1:
        low, high = LABELS + values.low * scale, LABELS + values.high * scale
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" '
            f'stroke="{INK}" stroke-width="2"/>'
        )
    end = LABELS + values.high * scale + 6
    parts.append(_text(round(end), y + BAR - 4, number(values.median)))
    return parts


def _text(x: int, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{INK}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
