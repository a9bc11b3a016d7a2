"""What stages hand to each other: rows, shards, and the layout of an index."""
