"""Readers of dataset layouts."""
