"""Running text for language models: files, splits, encoded tokens, training windows."""
