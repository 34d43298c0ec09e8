"""The replicated state machine: the same on every peer, commit by commit."""
