"""The use cases, over the domain's ports only."""
