"""Django's tasks, wherever they are: in Django from version 6 on, in ``django-tasks`` before."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def _found(part: str) -> Any:
    try:
        return import_module(f"django.tasks{part}")
    except ModuleNotFoundError:
        return import_module(f"django_tasks{part}")


tasks: Any = _found("")
base: Any = _found(".base")
backends: Any = _found(".backends.base")
exceptions: Any = _found(".exceptions")
signals: Any = _found(".signals")
# Django itself has no types.
database: Any = import_module("django.db")
import_string: Any = import_module("django.utils.module_loading").import_string
