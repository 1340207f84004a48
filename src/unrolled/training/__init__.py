"""The loop that trains a task's model, and what it leaves behind."""
