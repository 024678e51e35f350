"""What all adapters of wake-ups share: the listener and the notifier."""
