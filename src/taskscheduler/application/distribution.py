"""What this package is called where packages are installed from, and which release this is.

The module and the command are called ``taskscheduler``. The distribution is not: that name belongs
to somebody else's package on PyPI.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Final

NAME: Final = "durable-taskscheduler"
STRANGER: Final = "taskscheduler"
"""The distribution on PyPI that people install by mistake."""
COMMAND: Final = "taskscheduler"
UNKNOWN_RELEASE: Final = "0+unknown"


def release() -> str:
    """Return this package's version; a copy that was never installed has none that is known."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return UNKNOWN_RELEASE


def install(extra: str) -> str:
    """Return the command that installs ``extra``, from whatever place this package came."""
    return f"pip install '{NAME}[{extra}]'"


def stranger() -> str | None:
    """Return the version of the other package called taskscheduler, if that is installed here."""
    try:
        found = distribution(STRANGER)
    except PackageNotFoundError:
        return None
    # Early copies of this package had the same name; those brought our command.
    ours = found.entry_points.select(group="console_scripts", name=COMMAND)
    return None if ours else found.version
