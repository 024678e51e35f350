"""Calls to addresses that tasks name: strangers' input, so every address is checked."""
