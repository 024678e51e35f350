"""Helpers for tests: those of this package, and those of whoever builds on it.

Names are loaded when they are first used (PEP 562), so that the pytest plugin, which pytest imports
in every project that has this package, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskscheduler.testing.assertions import assert_scheduled, refute_scheduled
    from taskscheduler.testing.clock import ManualClock
    from taskscheduler.testing.draining import Drained, drain
    from taskscheduler.testing.stores import in_memory

__all__ = [
    "Drained",
    "ManualClock",
    "assert_scheduled",
    "drain",
    "in_memory",
    "refute_scheduled",
]

_HOME: Final = {
    "Drained": "draining",
    "ManualClock": "clock",
    "assert_scheduled": "assertions",
    "drain": "draining",
    "in_memory": "stores",
    "refute_scheduled": "assertions",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that it lives in."""
    home = _HOME.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found
