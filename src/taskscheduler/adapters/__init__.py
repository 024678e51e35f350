"""What implements the domain's ports. Adapters do not know one another."""
