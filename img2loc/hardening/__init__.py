"""What stands between the app and hostile input."""
