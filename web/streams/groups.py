"""Groups of clients that get the same bytes.

Owns the groups: clients with one kind of stream and the same channels. Must never send.
"""

from collections.abc import Iterable, Mapping

from web.streams.subscriber import Client, Kind


class Group:
    """Clients with one kind of stream and the same channels, which get the same bytes."""

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = frozenset(channels)
        self.clients: dict[int, Client] = {}  # by file descriptor


class Groups:
    """All groups, and the groups of each channel. A client leaves before its channels change, and
    joins again afterwards."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Kind, frozenset[str]], Group] = {}
        self._audience: dict[str, set[Group]] = {}

    @property
    def channels(self) -> list[str]:
        """The channels with a listener."""
        return list(self._audience)

    def join(self, client: Client) -> None:
        key = (client.kind, frozenset(client.channels))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(client.channels)
            for channel in client.channels:
                self._audience.setdefault(channel, set()).add(group)
        group.clients[client.sock.fileno()] = client

    def leave(self, client: Client) -> None:
        key = (client.kind, frozenset(client.channels))
        group = self._groups.get(key)
        if group is None or group.clients.pop(client.sock.fileno(), None) is None or group.clients:
            return
        del self._groups[key]
        for channel in group.channels:
            self._audience[channel].discard(group)
            if not self._audience[channel]:
                del self._audience[channel]

    def listeners(self, channel: str) -> int:
        return sum(len(group.clients) for group in self._audience.get(channel, ()))

    def of(self, channels: Iterable[str]) -> set[Group]:
        """The groups that listen to any of the channels."""
        audiences = [self._audience.get(channel, ()) for channel in channels]
        return set().union(*audiences)

    def check(self, clients: Mapping[int, Client]) -> None:
        """Assert every invariant. `clients` has all clients, by file descriptor."""
        for fd, client in clients.items():
            if client.channels:
                group = self._groups[client.kind, frozenset(client.channels)]
                assert group.clients[fd] is client
        for group in self._groups.values():
            assert all(clients[fd] is client for fd, client in group.clients.items())
            assert group.clients
            assert all(group in self._audience[channel] for channel in group.channels)
        sizes = [len(group.channels) for group in self._groups.values()]
        assert sum(map(len, self._audience.values())) == sum(sizes)
