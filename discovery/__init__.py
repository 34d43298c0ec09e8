"""Finding peers through Grenache Grapes: the client, and the loops that tell what was found.

Owns names and addresses. Must never know what a peer says once found, nor whether it is the one it
claims to be.
"""

from discovery.grape import (
    Address,
    BadInput,
    Closed,
    Grape,
    GrapeError,
    Malformed,
    Refused,
    Unreachable,
)
from discovery.service import Discovery
from discovery.service_tracker import (
    Announced,
    AnnounceRefused,
    Event,
    Found,
    GrapeFound,
    GrapeLost,
    Timing,
)

__all__ = [
    "Address",
    "AnnounceRefused",
    "Announced",
    "BadInput",
    "Closed",
    "Discovery",
    "Event",
    "Found",
    "Grape",
    "GrapeError",
    "GrapeFound",
    "GrapeLost",
    "Malformed",
    "Refused",
    "Timing",
    "Unreachable",
]
