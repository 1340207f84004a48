"""From text to co-occurrence counts."""
