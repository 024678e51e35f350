"""The worker: claiming, running handlers, settling outcomes, heartbeats."""
