"""Distances, clustering and its schedule: embeddings in, pseudo labels out."""
