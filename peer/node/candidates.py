"""The candidates that this peer connects to before they have seats.

Owns their numbers, from SEATS_MAX on, which are no seats. Must never take one for a member.

A change of members may be complete at some peers while this one still lacks the last blocks of its
epoch. If all members that have these are lost then, only those that have joined can hand them over.
So every peer follows the keys that the members have accepted or may accept. A candidate is silent
until it is a member, in a later epoch. Then it is asked as members are.
"""

from collections.abc import Collection

from peer.membership.epochs import SEATS_MAX
from peer.replica.governance import Proposal
from peer.replica.members import keys_of
from peer.replica.state_machine import Replica

FOLLOWED_MAX = 32  # so that proposals without end cost no connections without end


class Candidates:
    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}  # of all keys ever followed
        self._looked: tuple[int, int] | None = None  # the epoch and the version of the proposals

    def have_changed(self, replica: Replica) -> bool:
        """Whether there are other proposals than at the last call of `followed`."""
        return self._looked != _version(replica)

    def followed(self, replica: Replica, members: Collection[bytes]) -> dict[int, bytes]:
        """The keys to connect to beside those of members, by number: those of accepted proposals
        first, then of the oldest."""
        self._looked = _version(replica)
        accepted = set(replica.governance.accepted)

        def place(proposal: Proposal) -> tuple[bool, int, int]:
            return proposal.id not in accepted, proposal.time_ms, proposal.id

        proposals = sorted(replica.governance.open(), key=place)
        keys = dict.fromkeys(key for one in proposals for key in keys_of(one.changes))
        followed = [key for key in keys if key not in members][:FOLLOWED_MAX]
        for key in followed:
            self._numbers.setdefault(key, SEATS_MAX + len(self._numbers))
        return {self._numbers[key]: key for key in followed}


def _version(replica: Replica) -> tuple[int, int]:
    return replica.members.epoch.number, replica.governance.version
