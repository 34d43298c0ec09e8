"""The gateway's settings and limits. No behaviour."""

from dataclasses import dataclass

BODY_BYTES_MAX = 256 * 1024
TOKEN_CHARACTERS_MAX = 100  # of an API key, a link or a session
NESTED_MAX = 16  # nesting depth of JSON from a client
BATCH_MAX = 100  # orders of one request
TRADES_MAX = 1_000  # trades in one answer
WAITING_MAX = 24  # requests that hold a thread until their command is ordered; see `direct`
CONNECTIONS_MAX = 1_000  # for requests, including idle ones
STREAMS_MAX = 2_000
ACCOUNTS_MAX = 1_000  # mirrored accounts


@dataclass(frozen=True)
class Config:
    node: str  # ZeroMQ address of the node's local socket
    bind: str = "127.0.0.1:8081"
    order_timeout: float = 2.0  # seconds until a command that is not ordered is answered as pending
    keys: str = ""  # the peer's API keys and sessions; empty: no caller can trade
    account_rate: float = 100.0  # commands a second per account; ten times as many at once
    address_rate: float = 500.0  # requests and commands a second per address; likewise
    require_api_key: bool = False  # to trade, a signature by the account's own key is not enough
    tls_cert: str = ""  # PEM files; empty: plain HTTP
    tls_key: str = ""
    # Host names to which this gateway answers besides loopback names and its own address; "*" for
    # any. A page of another site must not reach it under a name of that site's choice.
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()  # addresses of reverse proxies whose X-Forwarded-For is trusted
    threads: int = 32
    request_timeout: float = 10.0  # seconds within which a whole request must arrive
    connections: int = CONNECTIONS_MAX
    streams: int = STREAMS_MAX
    log_level: str = "warning"
    grapes: tuple[str, ...] = ()  # URLs of the Grapes at which this gateway announces itself
    announce: str = ""  # the announced name
    source: bool = False  # serve the page's sources, not the bundle made of them
    history: str = ""  # path of the node's journal, for past trades and orders; empty: none
