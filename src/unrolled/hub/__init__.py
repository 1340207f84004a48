"""Trained runs on the Hugging Face Hub: `push` and `pull`, the only code that uses the network."""
