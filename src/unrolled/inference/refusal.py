"""Why a run, or a text, is left to torch."""

from __future__ import annotations


class Refused(Exception):
    """What only torch computes, or what is wrong with a file, which torch's path reports."""
