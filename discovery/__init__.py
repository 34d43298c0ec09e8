"""Finding peers through Grenache Grapes: the client, and the loops that report what they find.

Owns names and addresses. Must never know what a peer says, nor whether it is who it claims to be.
"""

from discovery.grape import (
    Address,
    BadInputError,
    ClosedError,
    Grape,
    GrapeError,
    MalformedError,
    RefusedError,
    UnreachableError,
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
    "BadInputError",
    "ClosedError",
    "Discovery",
    "Event",
    "Found",
    "Grape",
    "GrapeError",
    "GrapeFound",
    "GrapeLost",
    "MalformedError",
    "RefusedError",
    "Timing",
    "UnreachableError",
]
