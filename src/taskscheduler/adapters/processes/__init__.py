"""Handlers in processes of their own, by the pool of pebble."""

from taskscheduler.adapters.processes.pool import ProcessEngine as ProcessEngine
