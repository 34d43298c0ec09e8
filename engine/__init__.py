"""The matching engine: commands in, events out, the same on every peer."""
