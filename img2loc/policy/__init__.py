"""What the operator decides: settings, limits, precision, offers and costs."""
