"""Results as JSON, GeoJSON, KML, CSV and text."""
