"""The programs that an export contains; they use NumPy, tokenizers and ONNX Runtime, and nothing of Unrolled."""
