"""The commands: run a peer, the demo, the tap, keys, journal."""
