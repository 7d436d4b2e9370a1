"""Galleries on disk: storage, exact and approximate search, calibration."""
