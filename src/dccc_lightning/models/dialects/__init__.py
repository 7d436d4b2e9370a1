"""Checkpoints of other repositories: one file and one row a family (docs/models.md)."""
