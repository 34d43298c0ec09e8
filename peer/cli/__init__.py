"""The commands: run a peer, the demo, the tap, keys, accounts, the journal."""
