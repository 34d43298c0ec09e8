"""By which name an address is counted.

Owns the question which addresses are one client's. Pure.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

KNOWN_MAX = 1_000  # answers kept: to read an address takes longer than most of what is counted


@lru_cache(KNOWN_MAX)
def counted(text: str) -> str:
    """The same for all that one client has: an IPv4 address, also where it comes as IPv6, or a
    whole /64, which every IPv6 host has to itself. What is no address is counted as it is."""
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
    """An address as a proxy may write it, with a port or in brackets, without them. ValueError if
    it is none."""
    text = text.strip().strip('"').partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
