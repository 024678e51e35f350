"""What every worker does beside its tasks; there is no leader."""
