"""Pedestrians, their clothes, and the cameras that see them, drawn from seeds."""
