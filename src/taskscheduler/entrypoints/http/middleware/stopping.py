"""What long answers look at, so that a service that is to stop need not wait for them."""

from __future__ import annotations

from typing import Final

STOPPING: Final = "taskscheduler_stopping"
"""In the application's state while its long answers are to end."""
