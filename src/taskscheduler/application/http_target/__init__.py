"""The kind ``http``: a task that calls an HTTP target."""
