"""The app that brings the commands."""

from __future__ import annotations

from django.apps import AppConfig


class TaskSchedulerConfig(AppConfig):
    """Has no models: the schema is the scheduler's own."""

    name = "taskscheduler.django"
    label = "taskscheduler"
    verbose_name = "Task scheduler"
