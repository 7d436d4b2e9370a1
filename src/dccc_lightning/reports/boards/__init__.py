"""Boards: rows of thumbnails with captions."""
