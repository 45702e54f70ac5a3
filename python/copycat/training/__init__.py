"""Training: from frame pairs to checkpoints."""
