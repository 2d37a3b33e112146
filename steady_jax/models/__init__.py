"""One file, one network."""
