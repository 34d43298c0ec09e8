"""Who the caller is and what it may do: the checks between a request and an account.

Owns the reading of credentials and the refusals. The market is public; the orders of an account
need a key or a session of that account. Must never look into an order.
"""

from collections import Counter
from collections.abc import Sequence

from flask import g, request

from engine import Replace, Submit
from peer.replica.signed import Entry, Signed, command_of
from web.auth.keys import Credential, Keys, Principal, Scope
from web.auth.proofs import Proofs
from web.auth.rate_limits import Distinct, Limiter
from web.config import BATCH_MAX, Config
from web.contract.problems import Problem, too_many
from web.serve.client_address import counted

UNPROVEN_KEYS_RATE, UNPROVEN_KEYS_BURST = 2.0, 64  # per address, until they turn out right
ADDRESS_KEYS_MAX = 32  # key accounts that trade from one address within a day
KEYS_SECONDS = 24 * 3600.0
SESSIONS_RATE, SESSIONS_BURST = 0.2, 20  # sessions that one address opens with accounts' own keys


class Access:
    """Thread-safe. Without `keys` no caller can trade."""

    def __init__(self, config: Config, keys: Keys | None) -> None:
        self.keys = keys
        self._proofs = Proofs(keys.claim) if keys is not None else None
        self._require_api_key = config.require_api_key
        self._accounts = Limiter(config.account_rate, _burst(config.account_rate))
        self._addresses = Limiter(config.address_rate, _burst(config.address_rate))
        self._signatures = Limiter(config.address_rate, BATCH_MAX)
        self._unproven = Limiter(UNPROVEN_KEYS_RATE, UNPROVEN_KEYS_BURST)
        self._signers = Distinct(ADDRESS_KEYS_MAX, KEYS_SECONDS)
        self._sessions = Limiter(SESSIONS_RATE, SESSIONS_BURST)

    # Credentials

    def of_request(self) -> Credential | None:
        """The credential of the current request: a key in a header, or a session in a cookie."""
        if "credential" not in g:
            g.credential = self._of_headers()
        credential: Credential | None = g.credential
        return credential

    def _of_headers(self) -> Credential | None:
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer":
                raise _unauthorised("Expected `Authorization: Bearer p2p_…`.")
            return self.of_token(token.strip(), address())
        cookie = request.cookies.get(self.keys.cookie) if self.keys else None
        return self.keys.of_session(cookie) if self.keys and cookie else None

    def proven(self, authorization: str) -> Credential | None:
        """The credential in an Authorization header, if it is an API key that was proven before.
        Does not wait."""
        scheme, _, token = authorization.partition(" ")
        if self._proofs is None or scheme.lower() != "bearer":
            return None
        return self._proofs.known(token.strip())

    def of_token(self, token: str, where: str) -> Credential:
        """The credential of an API key. Problem if this peer did not make the key."""
        proofs = self._proofs
        found = proofs.known(token) if proofs else None
        if proofs and self.who(found) is None:
            _refuse(self._unproven.take(where), "unknown API keys from this address")
            found = proofs.of_token(token)
            if found is not None:
                self._unproven.spend(where, -1)
        if found is None or self.who(found) is None:
            raise _unauthorised("This API key is wrong or revoked.")
        return found

    def who(self, credential: Credential | None) -> Principal | None:
        return self.keys.who(credential) if self.keys else None

    def version(self) -> object:
        """A value that changes whenever the rights of a credential may have changed."""
        return self.keys.version() if self.keys else None

    # Permissions

    def account(self, scope: Scope, named: str, credential: Credential | None) -> str:
        """The account to act for: the one named, else that of the credential. Problem if the caller
        may not act for it."""
        who = self.known(credential)
        name = named or who.account
        if not who.may(scope, name):
            if name == who.account:
                raise Problem(403, f"This key may not {scope} for {name}.", "scope")
            raise Problem(403, f"{who.account} may not {scope} for {name:.64}.", "not_owner")
        return name

    def known(self, credential: Credential | None) -> Principal:
        """The holder of a credential. Problem if it grants nothing."""
        who = self.who(credential)
        if who is None:
            raise _unauthorised(
                "This needs an API key: `python -m peer keys DATA create ACCOUNT`, on the peer's "
                "machine, makes one. Or a session: open a one-time link of the peer."
            )
        return who

    def may_read(self, credential: Credential | None, account: str) -> bool:
        who = self.who(credential)
        return who is not None and who.may(Scope.READ, account)

    def trader(self, named: str, is_signed: bool, credential: Credential | None, where: str) -> str:
        """The account to trade for. A signature is enough unless an API key is required. The
        caller of this method verifies the signature, with `signatures`."""
        if not is_signed:
            return self.account(Scope.TRADE, named, credential)
        self.check_api_key(credential)
        _refuse(self._signatures.take(where), "signatures from this address")
        return named

    def check_api_key(self, credential: Credential | None) -> None:
        """Problem if this peer requires an API key or a session, and the caller has neither."""
        who = self.who(credential)
        if self._require_api_key and (who is None or not who.scopes & {Scope.TRADE, Scope.ADMIN}):
            text = "This peer takes signed orders only from callers with an API key or a session."
            raise Problem(403, text, "strangers")

    def is_operator(self, credential: Credential | None) -> bool:
        """Whether it has the scope `admin`, the rights of this peer's operator."""
        who = self.who(credential)
        return who is not None and Scope.ADMIN in who.scopes

    def is_known(self, credential: Credential | None) -> bool:
        """Whether the operator has let its holder in."""
        who = self.who(credential)
        return who is not None and who.is_known

    # Rates

    def pace(self, where: str) -> None:
        """Count a request of an address. Problem if it has sent too many."""
        _refuse(self._addresses.take(where), "requests from this address")

    def pace_sessions(self, where: str) -> None:
        """Count a session that an address opens with a key. Problem if it opens too many."""
        _refuse(self._sessions.take(where), "sessions opened from this address")

    def admit(self, entries: Sequence[Entry], where: str) -> None:
        """Count commands whose signatures and scopes have been checked. Problem if an account is
        barred here, if the address trades for too many keys, or if these are too many."""
        for entry in entries:
            if isinstance(command_of(entry), Submit | Replace):
                self._check_barred(entry.account)
            if type(entry) is Signed:
                seconds = self._signers.take(where, entry.account)
                _refuse(seconds, "keys that trade from this address", "too_many_keys")
        for account, count in Counter(entry.account for entry in entries).items():
            _refuse(self._accounts.take(account, count), f"orders of {account:.64}")
            _refuse(self._addresses.take(where, count), "requests from this address")

    def _check_barred(self, account: str) -> None:
        if self.keys is not None and self.keys.is_barred(account):
            text = f"{account:.64} is barred at this peer: it may only cancel its orders."
            raise Problem(403, text, "barred")


def address() -> str:
    """The address of the current request, as limits count it."""
    return counted(request.remote_addr or "")


def _burst(rate: float) -> int:
    return max(int(10 * rate), BATCH_MAX)


def _unauthorised(detail: str) -> Problem:
    return Problem(401, detail, "unauthorised")


def _refuse(seconds: float, what: str, code: str = "rate") -> None:
    if seconds:
        raise too_many(seconds, what, code)
