"""Sources of recordings, the store of windows, and the data module."""
