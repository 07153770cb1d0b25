"""The published systems and their baselines, one file each, as plain modules."""
