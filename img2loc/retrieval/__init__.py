"""Encoders and galleries: a photo's embedding, and its nearest and farthest neighbours."""
