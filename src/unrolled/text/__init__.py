"""Text, from strings to ids and batches. Knows nothing of models, and does not import torch.

`unrolled.text.batching` and `unrolled.data_report.pairs` load NumPy and must be imported explicitly.
"""

from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig, Splits, read_splits
from unrolled.text.tokenizer import Tokenizer

__all__ = [
    "BOS_ID",
    "EOS_ID",
    "PAD_ID",
    "UNK_ID",
    "DataConfig",
    "Row",
    "Splits",
    "TextConfig",
    "Tokenizer",
    "column_names",
    "read_rows",
    "read_splits",
]
