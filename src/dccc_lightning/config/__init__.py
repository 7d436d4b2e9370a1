"""Checks of settings and construction of objects from them."""
