"""A backend of Django's tasks, and commands of ``manage.py``, on PostgreSQL.

``TASKS = {"default": {"BACKEND": "taskscheduler.django.TaskSchedulerBackend"}}``, and
``"taskscheduler.django"`` in ``INSTALLED_APPS`` for the commands. It needs Django 6, or
``django-tasks`` beside an earlier one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskscheduler.django.backend import TaskSchedulerBackend
    from taskscheduler.django.worker import handlers_of

__all__ = ["TaskSchedulerBackend", "handlers_of"]


def __getattr__(name: str) -> object:
    """Load a public name once it is asked for: Django may not be set up before."""
    if name == "TaskSchedulerBackend":
        from taskscheduler.django import backend  # noqa: PLC0415 - see above

        return backend.TaskSchedulerBackend
    if name == "handlers_of":
        from taskscheduler.django import worker  # noqa: PLC0415 - see above

        return worker.handlers_of
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
