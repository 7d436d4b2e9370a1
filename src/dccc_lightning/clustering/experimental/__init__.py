"""Additions that the ablation study found no better than the plain method (docs/beyond.md)."""
