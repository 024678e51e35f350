"""Finding the handlers that a user names as ``module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskscheduler.application.handlers import Handlers
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable


def load_handlers(name: str) -> Handlers:
    """Return the ``Handlers`` that ``module:attribute`` names; the current folder is searched too.

    The attribute may also be a function that returns them.

    Raises:
        InvalidConfiguration: there is no such thing.
    """
    module_name, found, attribute = name.partition(":")
    if not found or not module_name or not attribute:
        message = f"--app {name!r}: expected module:attribute"
        raise InvalidConfiguration(message)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        message = f"--app {name!r}: there is no module {error.name!r}"
        raise InvalidConfiguration(message) from None
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            message = f"--app {name!r}: {module_name!r} has no {attribute!r}"
            raise InvalidConfiguration(message) from None
    if callable(value) and _takes_nothing(value):
        value = value()
    if not isinstance(value, Handlers):
        message = f"--app {name!r} is a {type(value).__name__}, not Handlers"
        raise InvalidConfiguration(message)
    return value


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True
