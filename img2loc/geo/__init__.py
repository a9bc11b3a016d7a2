"""The Earth: distances, places, known areas, and positions in tables."""
