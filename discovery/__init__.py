"""Finding peers through a Grenache Grape: the client, and the loop that tells who joined and left.

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
from discovery.roster import (
    Announced,
    AnnounceRefused,
    Event,
    GrapesFound,
    GrapesLost,
    Joined,
    Left,
    Timing,
)
from discovery.service import Discovery

__all__ = [
    "Address",
    "AnnounceRefused",
    "Announced",
    "BadInput",
    "Closed",
    "Discovery",
    "Event",
    "Grape",
    "GrapeError",
    "GrapesFound",
    "GrapesLost",
    "Joined",
    "Left",
    "Malformed",
    "Refused",
    "Timing",
    "Unreachable",
]
