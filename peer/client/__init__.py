"""How a local program talks to its node: the protocol, both of its ends, the Python client."""
