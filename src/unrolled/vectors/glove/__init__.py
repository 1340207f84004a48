"""GloVe: the pairs it trains on, and its model."""
