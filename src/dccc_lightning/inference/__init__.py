"""Inference with trained networks: loading, embedding, evaluation, export."""
