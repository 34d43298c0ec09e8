"""A peer of the mesh. This package exports the client for Python programs."""

import engine  # noqa: F401 first: it finds compiled modules, some of them of this package
from peer.client.client import ChangeRejectedError, Client
from peer.client.connection import ClientError, NoAnswerError, NodeClient, NodeRefusedError
from peer.client.order_input import InvalidInputError
from peer.client.signer import Signer
from peer.membership.identity import Identity
from peer.version import VERSION as __version__

__all__ = [
    "ChangeRejectedError",
    "Client",
    "ClientError",
    "Identity",
    "InvalidInputError",
    "NoAnswerError",
    "NodeClient",
    "NodeRefusedError",
    "Signer",
    "__version__",
]
