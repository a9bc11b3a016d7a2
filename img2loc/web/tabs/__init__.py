"""The page's tabs and their events."""
