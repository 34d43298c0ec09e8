"""The fast lane: what exists only for speed, held against the plain path by tests."""
