"""What the OpenAPI document says beyond the handlers' types."""
