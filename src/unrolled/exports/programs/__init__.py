"""The programs that exports contain; they use NumPy, tokenizers and ONNX Runtime, not Unrolled."""
