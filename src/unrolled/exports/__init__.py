"""Trained runs as ONNX graphs, built node by node and compared with the model before they are written."""
