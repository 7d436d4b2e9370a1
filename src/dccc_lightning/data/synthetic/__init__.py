"""Synthetic pedestrians and cameras, drawn from seeds."""
