"""A store in this process's memory: for tests and trials. It ends with the process."""
