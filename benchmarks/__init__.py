"""How fast it is, measured side by side on a PostgreSQL that the benchmark starts itself."""
