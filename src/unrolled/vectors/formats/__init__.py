"""File formats of word vectors: GloVe and word2vec text, word2vec binary, safetensors."""

from unrolled.vectors.formats.detect import read_vectors, write_vectors

__all__ = ["read_vectors", "write_vectors"]
