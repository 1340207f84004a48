"""Databases and queries: schemas, safe execution, targets for a decoder, and exact metrics.

Nothing here needs a model. `sqlglot`, which parses and renders queries, is part of the extra `sql`.
"""
