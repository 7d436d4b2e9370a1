"""Checks of a dataset: counts, damaged files, near-duplicates."""
