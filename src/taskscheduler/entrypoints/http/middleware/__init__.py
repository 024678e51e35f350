"""What happens to every request: its id and log line, access, tracing, browser security."""
