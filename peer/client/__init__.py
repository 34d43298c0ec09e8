"""How a local program talks to its node: the protocol, both its ends, the Python client."""
