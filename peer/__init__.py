"""A peer of the mesh: blocks, one order for all, the journal and the node."""

from peer.client import Client

__all__ = ["Client"]
