"""One file a kind of endpoint."""
