"""What counts and trains: compiled kernels, and the NumPy reference that defines them."""
