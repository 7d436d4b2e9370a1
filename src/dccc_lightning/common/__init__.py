"""Files, argument checks, progress, console and collectives, which every other part may use."""
