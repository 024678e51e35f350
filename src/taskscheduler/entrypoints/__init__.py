"""The ways in: the library, the REST service, the worker, the command line."""
