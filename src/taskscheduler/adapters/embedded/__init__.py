"""The adapter that brings its own PostgreSQL, for one machine and no set-up."""

from taskscheduler.adapters.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
