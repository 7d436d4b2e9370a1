"""Backbones, pooling, grouped batch norm, the embedder and its mean teacher."""
