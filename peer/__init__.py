"""A peer of the mesh: blocks, one order for all, the journal and the node."""

from peer.client import ClientError, NoAnswer, NodeClient, NodeRefused
from peer.entry import InvalidInput
from peer.trader import ChangeRejected, Client

__all__ = [
    "ChangeRejected",
    "Client",
    "ClientError",
    "InvalidInput",
    "NoAnswer",
    "NodeClient",
    "NodeRefused",
]
