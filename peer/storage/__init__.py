"""What must survive: the journal, the history beside it, snapshots of others."""
