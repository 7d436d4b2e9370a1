"""Figures: each is drawn once by matplotlib, for the page, for W&B and for a PNG."""
