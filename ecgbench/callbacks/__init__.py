"""What a run does beside training: progress, provenance, W&B."""
