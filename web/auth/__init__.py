"""Who asks and whether they may: keys, sessions, signatures, limits."""
