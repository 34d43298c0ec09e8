"""What this peer knows of the epochs: which there were, in which it stands, who signed their begin.

Owns the known epochs, the hand-over signatures, and their rows in the journal. Must never decide
that an epoch ends: the one order does. Must never send anything.
"""

from collections.abc import Callable, Mapping, Sequence

from peer.consensus.block import InvalidBlockError
from peer.membership.block_reader import BlockReader
from peer.membership.epochs import SEATS_MAX, Certificate, Epoch, Pin, chain
from peer.membership.identity import Verifier
from peer.membership.mesh_file import MeshConfig
from peer.network.messages import CHAIN_MAX
from peer.node.chain_seeker import ChainSeeker
from peer.replica.snapshot import is_certified
from peer.storage.epoch_table import Fork, StoredEpoch
from peer.storage.journal import Journal, JournalError, LostJournalError
from peer.storage.state_sync import Manifest


class EpochBook:
    """Starts in the epoch of the mesh file; `restore` reads the journal. `pin`: see `chain`."""

    def __init__(
        self,
        config: MeshConfig,
        journal: Journal,
        pin: Pin | None = None,
        verifier: type[Verifier] = Verifier,
    ) -> None:
        self._verifier = verifier
        self._table = journal.epochs
        self._pin = pin
        self._known = [Epoch.first(config)]
        self._signatures: dict[int, dict[int, bytes]] = {}  # by epoch: over its seal, by seat
        self._certified: set[int] = set()
        self._uncertified = 1  # all epochs below are certified
        self.seeker = ChainSeeker()
        self.is_unsealed = False  # the members mean to go on though this epoch is not certified
        self.forked = ""  # why this peer must stop: an epoch has two seals
        self.current = self._known[0]

    def restore(self) -> None:
        """Read the epochs in the journal. JournalError if they are damaged, or of two meshes."""
        for stored in self._table.all():
            before = self._known[-1]
            epoch = Epoch(stored.origin, self.current.mode, before)
            if (epoch.number, stored.origin.before) != (before.number + 1, before.seal):
                raise LostJournalError(f"the journal is damaged: epoch {epoch.number} follows none")
            self._note(epoch, stored.signatures)
        if (fork := self._table.fork()) is not None and not self._is_trusted(fork):
            raise JournalError(f"this peer has stopped for good. {self._words(fork)}")

    def _note(self, epoch: Epoch, signatures: Mapping[int, bytes]) -> None:
        """The epoch follows the newest one. The signatures are good."""
        before = self.newest
        self._known.append(epoch)
        self._signatures[epoch.number] = dict(signatures)
        if len(signatures) >= before.committee.quorum:
            self._certified.add(epoch.number)

    def find(self, number: int) -> Epoch | None:
        """An epoch, entered or not; None if it is unknown."""
        return self._known[number] if 0 <= number < len(self._known) else None

    def level_of(self, number: int) -> int:
        """The level of a known epoch."""
        return self._known[number].origin.level

    def before(self, number: int) -> list[Epoch]:
        """The known epochs below this number."""
        return self._known[:number]

    def name_of(self, seat: int) -> str:
        """The name of a seat of any known epoch, or of a link to a candidate."""
        if seat >= SEATS_MAX:
            return "a candidate"
        every = (one for epoch in reversed(self._known) for one in epoch.seats)
        return next((one.name for one in every if one.number == seat), f"seat {seat + 1}")

    def seat_of(self, key: bytes) -> int | None:
        """The last seat of a key in any epoch up to the current one."""
        epochs = self._known[self.current.number :: -1]
        seats = (epoch.seat_of(key) for epoch in epochs)
        return next((seat for seat in seats if seat is not None), None)

    @property
    def newest(self) -> Epoch:
        """The last one whose members are known, perhaps after the one in which this peer stands."""
        return self._known[-1]

    def stand_in(self, number: int) -> None:
        """This peer continues in a known epoch."""
        self.current = self._known[number]

    @property
    def connected(self) -> list[Epoch]:
        """The epochs whose members to connect to: the current one first, the one before, whose
        members sign until that is done, and the newest one."""
        before = [] if self.current.previous is None else [self.current.previous]
        return [self.current, *before, self.newest]

    def expect(self, epoch: Epoch) -> None:
        """The current epoch ends, and `epoch` follows. Sets `forked` if the journal or the chain
        knows another one."""
        known = self.find(epoch.number)
        if known is None:
            self._note(epoch, {})
        elif known.seal != epoch.seal:
            number = epoch.number
            self._fork(Fork(number, epoch.seal, known.seal, self._signatures[number]))

    def compare(self, number: int, seal: bytes, signatures: Mapping[int, bytes]) -> None:
        """Somebody has this seal of an epoch, with signatures over it. Sets `forked` if they are a
        quorum's, and this peer knows another seal."""
        known, before = self.find(number), self.find(number - 1)
        if self.forked or number < 1 or known is None or before is None or known.seal == seal:
            return
        if before.certifies(seal, signatures):
            self._fork(Fork(number, known.seal, seal, dict(signatures)))

    def _fork(self, fork: Fork) -> None:
        """Stop, now and after each restart, unless an operator has decided."""
        if not self._is_trusted(fork):
            self.forked = self._words(fork)
            self._table.note_fork(fork)

    def _is_trusted(self, fork: Fork) -> bool:
        """Whether `--trust` names the own seal, or one that contains it."""
        own = self.find(fork.epoch)
        return self._has_pinned(fork.epoch) and own is not None and own.seal == fork.own

    def _has_pinned(self, number: int) -> bool:
        """Whether `--trust` names the seal of a known epoch from this number on."""
        pinned = None if self._pin is None else self.find(self._pin.epoch)
        if self._pin is None or pinned is None or self._pin.epoch < number:
            return False
        return pinned.seal == self._pin.seal

    def _words(self, fork: Fork) -> str:
        number, own, other = fork.epoch, fork.own.hex(), fork.other.hex()
        signed = f"epoch {number}: a quorum before it has signed the seal {other}"
        wrong = f"{signed}, and this peer has {own}: its state is wrong, or somebody has their keys"
        known = self.find(number)
        if known is None or known.seal != fork.own:
            return f"{wrong}. Join again under a new key"
        if number in self._certified:
            wrong = f"{signed}, and {own} as well: there may be two meshes now"
        return (
            f"{wrong}. People must decide which of them goes on: if it is this peer's, start it "
            f"with --trust {number}:{own}, else join again under a new key"
        )

    def enter(self, number: int) -> None:
        """Write that the epochs up to `number` are entered. Durable after the next `sync`."""
        for each in range(max(self._table.entered, 0) + 1, number + 1):
            self._write(self._known[each], True)

    def _write(self, epoch: Epoch, is_entered: bool) -> None:
        number = epoch.number
        is_trusted = self._pin is not None and number <= self._pin.epoch
        is_proven = is_trusted or number in self._certified
        self._table.put(StoredEpoch(epoch.origin, self._signatures[number], is_proven, is_entered))

    # Signatures over the seal of the epoch in which this peer stands

    def is_certified(self, number: int) -> bool:
        """Whether a quorum of the epoch before has signed the seal; the first epoch needs none."""
        return number == 0 or number in self._certified

    @property
    def signatures(self) -> dict[int, bytes]:
        """Those over the seal of the current epoch, by seats of the epoch before."""
        return self._signatures.get(self.current.number, {})

    def sign(self, key: bytes, sign: Callable[[bytes], bytes]) -> None:
        """ORDER-46. As the holder of a key of the epoch before, sign this one's seal."""
        before = self.current.previous
        seat = None if before is None else before.seat_of(key)
        if seat is not None and seat not in self.signatures:
            self.add({seat: sign(self.current.statement)})

    def add(self, signatures: Mapping[int, bytes], number: int | None = None) -> bool:
        """Add signatures over the seal of a known epoch, by default the current one; returns
        whether one of them is new and good. Once a quorum's are there, they are written."""
        number = self.current.number if number is None else number
        epoch, before = self.find(number), self.find(number - 1)
        if epoch is None or before is None:
            return False
        known = self._signatures[number]
        new = {seat: one for seat, one in signatures.items() if seat not in known}
        good = list(before.signers_of(epoch.seal, new))
        known.update((seat, new[seat]) for seat in good)
        if len(known) >= before.committee.quorum and number not in self._certified:
            self._certified.add(number)
            self._write(epoch, number <= max(self._table.entered, self.current.number))
        return bool(good)

    def certifies(self, manifest: Manifest, certificate: list[bytes]) -> bool:
        """Whether a quorum of a commit's epoch signed this digest. The epoch must be known."""
        epoch = self.find(manifest.epoch)
        if epoch is None:
            return False
        reader = BlockReader(epoch, self._verifier)
        try:
            blocks = [reader.read(frame) for frame in certificate]
        except InvalidBlockError:
            return False
        return is_certified(manifest.commit, manifest.digest, blocks, epoch.committee)

    # The chain

    def certificates(self, above: int) -> list[Certificate]:
        """The certificates of the epochs after `above`, as many as one answer has. Also an epoch
        that too few have signed, if the members mean to go on, or this peer's operator has said to
        trust it: their newcomers trust its seal."""
        is_told = self.is_unsealed or self._has_pinned(self.current.number)
        return self._table.certificates(above, CHAIN_MAX, is_told)

    @property
    def lacks_pin(self) -> bool:
        """Whether the pinned epoch is not known yet. Nothing before it is believed until then."""
        return self._pin is not None and self.newest.number < self._pin.epoch

    def uncertified(self, is_sealed: bool) -> int | None:
        """The first epoch up to the current one that is not certified here though it may be
        elsewhere; None if there is none. `is_sealed`: the current one is certified in the order."""
        while self._uncertified in self._certified:
            self._uncertified += 1
        lacks = self._uncertified < self.current.number + is_sealed
        return self._uncertified if lacks else None

    def learn(self, certificates: Sequence[Certificate]) -> bool:
        """Take a chain from another peer; returns whether it led further than `newest`. It may also
        certify epochs that are known. ForgedChainError if it is wrong; what is good before that
        counts."""
        last = self.newest
        for origin, signatures in ((one.origin, one.signatures) for one in certificates):
            self.compare(origin.number, Epoch(origin, last.mode).seal, signatures)
            if not self.is_certified(origin.number):
                self.add(signatures, origin.number)
        fresh = [one for one in certificates if one.origin.number > last.number]
        by_number = {one.origin.number: one for one in fresh}
        for epoch in chain(last, fresh, self._pin):
            signed = by_number[epoch.number].signatures  # nobody looked at those before the pin
            good = self.newest.signers_of(epoch.seal, signed)
            self._note(epoch, {seat: signed[seat] for seat in good})
            self._write(epoch, False)
        return self.newest is not last
