"""From untrusted bytes to an upright RGB picture without metadata."""
