"""Training of a task's model, and run folders."""
