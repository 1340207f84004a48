"""Trained runs as C: a network without allocation, its weights as constants, and a program."""

from unrolled.exports.c.export import export_c

__all__ = ["export_c"]
