"""The durable store: PostgreSQL 15 to 18, by psycopg."""
