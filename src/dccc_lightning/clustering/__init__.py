"""Clustering of embeddings into pseudo labels: distances, algorithms and schedules."""
