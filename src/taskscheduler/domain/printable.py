r"""What strangers wrote, as it may be shown: on a terminal, in a line of a log, anywhere as text.

A terminal obeys escape sequences, whoever wrote them; marks of direction make a line read as what
it is not; a line break makes one line two. All of that is shown as what it is: ``\x1b``.
"""

from __future__ import annotations

import re
from typing import Final

# C0, DEL and C1; marks and changes of direction; what divides lines, is invisible, or is a half.
_UNSEEN: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_LINES: Final = re.compile(f"[{_UNSEEN}]")
_IN_ONE: Final = re.compile(f"[\t\n{_UNSEEN}]")


def printable(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with all that is not seen as it is, escaped.

    It is one line then, unless ``lines`` says that it may be several.
    """
    pattern = _IN_LINES if lines else _IN_ONE
    return pattern.sub(_escaped, text)


def printable_json(text: str) -> str:
    """Return JSON that means the same, with all that is not seen as it is, escaped in JSON's way.

    Outside of its strings there is nothing of the kind.
    """
    return _IN_LINES.sub(_escaped_in_json, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _escaped_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
