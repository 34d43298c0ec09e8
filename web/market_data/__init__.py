"""The gateway's copy of its node's state, and the connection that keeps it up to date."""
