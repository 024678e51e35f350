"""Faults on purpose: kill, pause, cut off, and judge from the records that every promise held."""
