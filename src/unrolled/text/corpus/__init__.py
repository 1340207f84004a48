"""Running text for language models: files, their splits, encoded tokens, training windows."""
