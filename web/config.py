"""What the gateway is told when it starts, and the limits it keeps. Holds no behaviour."""

from dataclasses import dataclass

BODY_BYTES_MAX = 256 * 1024
TOKEN_CHARACTERS_MAX = 100  # of an API key, a link or a session
NESTED_MAX = 16  # objects and arrays inside each other, in what is sent to the gateway
BATCH_MAX = 100  # orders of one request
TRADES_MAX = 1_000  # trades of one answer
WAITING_MAX = 24  # requests that hold a thread until their order is ordered
CONNECTIONS_MAX = 1_000  # for requests, the idle ones included
STREAMS_MAX = 2_000
ACCOUNTS_MAX = 1_000  # accounts mirrored at a time


@dataclass(frozen=True)
class Config:
    node: str  # ZeroMQ address of the node's local socket
    bind: str = "127.0.0.1:8081"
    order_timeout: float = 2.0  # seconds until an order that is not ordered is answered as pending
    keys: str = ""  # the peer's API keys and sessions; empty: no caller can trade
    account_rate: float = 100.0  # commands a second of one account; ten times as many at once
    address_rate: float = 500.0  # requests and commands a second of one address; likewise
    require_api_key: bool = False  # a signature by a key of one's own is not enough to trade
    tls_cert: str = ""  # PEM files; empty: plain HTTP
    tls_key: str = ""
    # Names this gateway answers to beside the loopback ones and the address it is bound to; "*" for
    # any. A page on another site must not reach it under a name of its own choice.
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()  # addresses of reverse proxies, whose X-Forwarded-For counts
    threads: int = 32
    request_timeout: float = 10.0  # seconds until a request, once begun, has arrived whole
    connections: int = CONNECTIONS_MAX
    streams: int = STREAMS_MAX
    log_level: str = "warning"
    grapes: tuple[str, ...] = ()  # URLs of Grapes that are told of this gateway
    announce: str = ""  # the name they are told
    history: str = ""  # the node's journal, for the trades of the past; empty: none
