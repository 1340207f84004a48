"""Word vectors: their files, neighbours, analogies and evaluation, and their way into a model."""
