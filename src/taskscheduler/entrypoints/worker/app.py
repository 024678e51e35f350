"""Finding the handlers that a user names as ``module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("taskscheduler.app")


def load_handlers(name: str) -> Handlers:
    """Return the ``Handlers`` that ``module:attribute`` names; the current folder is searched too.

    The attribute may also be a function that returns them.

    Raises:
        InvalidConfiguration: there is no such thing, or the user's own code raises. The message
            says what and in which line; the whole traceback is logged at level debug.
    """
    module_name, found, attribute = name.partition(":")
    if not found or not module_name or not attribute:
        message = f"--app {name!r}: expected module:attribute"
        raise InvalidConfiguration(message)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    value = _run(name, lambda: _look_up(name, module_name, attribute))
    if callable(value) and _takes_nothing(value):
        value = _run(name, value)
    if not isinstance(value, Handlers):
        message = f"--app {name!r} is a {type(value).__name__}, not Handlers"
        raise InvalidConfiguration(message)
    return value


def _look_up(name: str, module_name: str, attribute: str) -> Any:
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        message = f"--app {name!r}: there is no module {error.name!r}"
        raise InvalidConfiguration(message) from None
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            message = f"--app {name!r}: {module_name!r} has no {attribute!r}"
            raise InvalidConfiguration(message) from None
    return value


def _run(name: str, work: Callable[[], Any]) -> Any:
    """Do ``work``, which runs the user's code. Raises InvalidConfiguration in its place."""
    try:
        return work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, InvalidConfiguration) and error.args[0].startswith("--app"):
            raise
        log.debug("--app %r raised", name, exc_info=True)
        message = f"--app {name!r} cannot be loaded: {_said(error)}"
        raise InvalidConfiguration(message) from None


def _said(error: BaseException) -> str:
    """Return what ``error`` is and where the user's code raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"  # which names the line
    # By the library, which bears with exceptions whose description fails.
    said = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path.cwd())
    theirs = [frame for frame in frames if frame.filename.startswith(here)] or frames
    return f"{said} ({theirs[-1].filename}, line {theirs[-1].lineno})"


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True
