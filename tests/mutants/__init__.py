"""Faults put into a copy of the package by hand: the tests must notice each of them."""
