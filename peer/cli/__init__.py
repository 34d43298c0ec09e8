"""The commands: run a peer, the demo and its market, the tap, keys, accounts, the journal."""
