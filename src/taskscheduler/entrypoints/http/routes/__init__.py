"""The calls of the REST service, a file for each resource."""
