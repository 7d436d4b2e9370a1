"""Training: LightningModules, optimiser, checkpoints and callbacks."""
