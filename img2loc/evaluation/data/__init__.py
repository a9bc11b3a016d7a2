"""Ground truth and photos."""
