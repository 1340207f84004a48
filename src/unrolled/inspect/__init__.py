"""Inspect a trained model: attention, word attributions, word maps, evaluation reports."""
