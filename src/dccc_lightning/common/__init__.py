"""Shared infrastructure: files, locks, argument checks, progress, console and collectives."""
