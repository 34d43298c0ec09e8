"""The name by which an address is counted.

Owns the rule for which addresses are one client. Pure.
"""

from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

KNOWN_MAX = 1_000  # cached answers: to parse an address takes longer than most checks


@lru_cache(KNOWN_MAX)
def counted(text: str) -> str:
    """One name for all addresses of a client: the IPv4 address, also if it is mapped to IPv6; for
    IPv6 the whole /64, which one host has to itself. A text that is no address is its own name."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return f"{IPv6Address(int(found) >> 64 << 64)}/64"
        found = found.ipv4_mapped
    return str(found)


@lru_cache(KNOWN_MAX)
def plain(text: str) -> str:
    """An address without the port or brackets that a proxy may add. ValueError if it is none."""
    text = text.strip().strip('"').partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def release(counts: Counter[str], name: str) -> None:
    """Count one less for `name`, and drop it at zero."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
