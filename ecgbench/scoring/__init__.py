"""From a trained task to the numbers of a run, one file per task."""
