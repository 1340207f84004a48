"""Trained runs in other forms, compared with the model before they are written."""
