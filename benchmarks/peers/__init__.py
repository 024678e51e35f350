"""One program for each contestant: what ``benchmarks.protocol`` asks, by its documented means."""
