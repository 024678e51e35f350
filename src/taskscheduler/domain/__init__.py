"""What a task is and what may become of it. Standard library only, no I/O."""
