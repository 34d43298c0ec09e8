"""A peer of the mesh: blocks, one order for all, the journal and the node."""

from peer.client.client import ChangeRejected, Client
from peer.client.connection import ClientError, NoAnswer, NodeClient, NodeRefused
from peer.client.order_input import InvalidInput
from peer.client.signer import Signer

__all__ = [
    "ChangeRejected",
    "Client",
    "ClientError",
    "InvalidInput",
    "NoAnswer",
    "NodeClient",
    "NodeRefused",
    "Signer",
]
