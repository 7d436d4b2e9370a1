"""Nearest neighbours of embeddings, shared by clustering, metrics and gallery."""
