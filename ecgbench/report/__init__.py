"""Pages and tables written from run folders alone."""
