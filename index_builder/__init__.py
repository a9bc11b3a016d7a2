"""Builds the galleries that Img2Loc searches. The app never imports it."""
