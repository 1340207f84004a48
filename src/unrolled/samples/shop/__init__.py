"""Generated questions about two small databases, and the queries that answer them."""
