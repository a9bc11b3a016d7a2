"""From journals to scores, tables and the report."""
