"""Training: configuration, stages, the loop, checkpoints."""
