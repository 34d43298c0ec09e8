"""The gateway of one peer: page, HTTP API and streams."""
