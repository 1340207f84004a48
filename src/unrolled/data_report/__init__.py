"""What `unrolled data` reports about a data set before training."""
