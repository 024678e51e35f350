"""One file for each kind of fault. Each has a ``run`` that returns lines of the table."""
