"""Counts of a worker's work, and sampled readings of the store."""
