"""The fast path: code only for speed. Tests compare it with the plain path."""
