"""What `unrolled data` reports of a data set before training."""
