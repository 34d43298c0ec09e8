"""The fast lane: code only for speed. Tests compare it with the plain path."""
