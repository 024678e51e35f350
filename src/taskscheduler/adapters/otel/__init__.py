"""Tracing by OpenTelemetry; needs the extra ``otel``."""
