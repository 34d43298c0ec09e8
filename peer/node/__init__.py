"""The node: one loop that owns sockets, journal, consensus and engine."""
