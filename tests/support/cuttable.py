"""A network between real peers that tests can cut or slow: TCP proxies on loopback addresses.

Owns one proxy for each direction of each pair of peers, in a thread. A peer finds another one at
127.x.y.z, where x and y belong to this network; a proxy there forwards its ports to 127.0.0.1. A
peer expects the fetch port at the host from which blocks come, so fetches go through the proxy too.
Must never look into the data.

Not covered: single lost packets (TCP hides them) and UDP, so the DHT does not go through it.
"""

import asyncio
import contextlib
import functools
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from peer.consensus.committee import Mode
from tests.support.real_mesh import LOCAL, RealMesh, held_ports, pairs

CHUNK_BYTES = 64 * 1024
THERE, BACK = 0, 1  # the directions of a connection, seen from the side that made it


class _Link:
    """The connections of one peer to another's ports, forwarded while open. They come from `home`,
    the address of the first peer for the second: a peer assumes that others are where their
    connections come from."""

    def __init__(self, home: str) -> None:
        self._home = home
        self.open = asyncio.Event()
        self.open.set()
        self.writers: dict[asyncio.StreamWriter, int] = {}  # with the target port
        self.closed: set[int] = set()  # ports
        self.accepted: Counter[int] = Counter()  # connections, by target port
        self.delay_s = 0.0  # of everything, each way; it keeps its order
        self.bytes = 0  # forwarded, both ways
        self._on_its_way = deque[tuple[float, Callable[[Any], object], Any]]()
        self.swallowed = Counter[int](), Counter[int]()  # how many are dead, there and back

    async def serve(
        self, inward: asyncio.StreamReader, back: asyncio.StreamWriter, to: int
    ) -> None:
        """Forward one connection to port `to` until either end closes it."""
        ends = [back]
        self.writers[back] = to
        self.accepted[to] += 1
        number = self.accepted[to]
        try:
            await self.open.wait()
            if to in self.closed:
                return
            outward, forth = await asyncio.open_connection(LOCAL, to, local_addr=(self._home, 0))
            ends.append(forth)
            self.writers[forth] = to

            def dead(way: int) -> bool:
                return number <= self.swallowed[way][to]

            await asyncio.gather(
                self._pump(inward, forth, functools.partial(dead, THERE)),
                self._pump(outward, back, functools.partial(dead, BACK)),
            )
        except OSError:
            pass  # no program listens there now
        finally:
            for end in ends:
                self._later(self._drop, end)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dead: Callable[[], bool]
    ) -> None:
        """Copy a stream. A dead connection takes all data, and hides its end from the other
        side."""
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self.open.wait()
                if not dead():
                    self.bytes += len(data)
                    self._later(writer.write, data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            if not dead():
                self._later(self._drop, writer)

    def _later(self, what: Callable[[Any], object], argument: Any) -> None:
        """Call it after the delay, and after all that came before it."""
        if not self.delay_s and not self._on_its_way:
            what(argument)
            return
        due_s = asyncio.get_running_loop().time() + self.delay_s
        self._on_its_way.append((due_s, what, argument))
        if len(self._on_its_way) == 1:
            self._arrive()

    def _arrive(self) -> None:
        """Deliver what is due, and come back for the rest."""
        loop = asyncio.get_running_loop()
        while self._on_its_way and self._on_its_way[0][0] <= loop.time():
            _, what, argument = self._on_its_way.popleft()
            what(argument)
        if self._on_its_way:
            loop.call_at(self._on_its_way[0][0], self._arrive)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self.writers.pop(writer, None)
        writer.close()

    def reset(self, only: int | None = None) -> None:
        """Abort every connection, or those to one port, with the data on its way."""
        for writer, port in list(self.writers.items()):
            if only in (None, port):
                writer.transport.abort()


class CuttableNetwork:
    """Links between peers. Peer n listens on `ports[n]`, on 127.0.0.1."""

    def __init__(self, ports: Sequence[Sequence[int]]) -> None:
        self.ports = ports
        self._home = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
        self._links: dict[tuple[int, int], _Link] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def address(self, who: int, whom: int) -> str:
        """The address at which peer `who` finds peer `whom`."""
        return f"{self._home}.{who * 16 + whom + 1}"

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        for who in range(len(self.ports)):
            for whom, ports in enumerate(self.ports):
                if who == whom:
                    continue
                link = self._links[who, whom] = _Link(self.address(whom, who))
                for port in ports:
                    server = await asyncio.start_server(
                        functools.partial(_Link.serve, link, to=port),
                        self.address(who, whom),
                        port,
                    )
                    self._servers.append(server)

    def cut(self, one: int) -> None:
        """From now on no data reaches peer `one` or leaves it; connections stay open."""
        self._call(lambda link: link.open.clear(), one)

    def swallow(self, who: int, whom: int, port: int, ways: Sequence[int] = (THERE, BACK)) -> None:
        """Drop all data on the present connections of `who` to this port of `whom`, as firewalls
        do: they stay open but dead. New ones work."""

        def forget(link: _Link) -> None:
            for way in ways:
                link.swallowed[way][port] = link.accepted[port]

        self._do(forget, who, whom)

    def close_port(self, who: int, whom: int, port: int) -> None:
        """From now on `who` can't connect to this port of `whom`, and its connections there end."""

        def close(link: _Link) -> None:
            link.closed.add(port)
            link.reset(port)

        self._do(close, who, whom)

    def _do(self, what: Callable[[_Link], None], who: int, whom: int) -> None:
        """Call `what` in the network's thread, and wait for it."""
        done = threading.Event()

        def do() -> None:
            what(self._links[who, whom])
            done.set()

        self._loop.call_soon_threadsafe(do)
        assert done.wait(10)

    def connections(self, who: int, whom: int, port: int) -> int:
        """How many connections `who` has ever made to this port of `whom`."""
        return self._links[who, whom].accepted[port]

    def heal(self, one: int, lose: bool) -> None:
        """Undo `cut`. With `lose` the data on its way is lost, otherwise it comes late."""
        if lose:
            self._call(_Link.reset, one)
        self._call(lambda link: link.open.set(), one)

    def slow(self, one: int, delay_s: float) -> None:
        """From now on all data to and from peer `one` comes so much later; 0 undoes that."""

        def slow(link: _Link) -> None:
            link.delay_s = delay_s

        self._call(slow, one)

    def spread(self, delay_s: float) -> None:
        """From now on all data between any two peers comes so much later."""
        for one in range(len(self.ports)):
            self.slow(one, delay_s)

    @property
    def forwarded(self) -> int:
        """The bytes that all links have carried, as they are on the wire."""
        return sum(link.bytes for link in self._links.values())

    def deafen(self, one: int) -> None:
        """From now on peer `one` hears no other peer, without knowing it; the others hear it."""
        self._call(lambda link: link.open.clear(), one, both_ways=False)

    def _call(self, what: Callable[[_Link], None], one: int, both_ways: bool = True) -> None:
        for (who, whom), link in self._links.items():
            if who == one or (both_ways and whom == one):
                self._loop.call_soon_threadsafe(what, link)

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for link in self._links.values():
            link.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close their sockets in later turns


@contextlib.contextmanager
def cuttable_network(ports: Sequence[Sequence[int]]) -> Iterator[CuttableNetwork]:
    network = CuttableNetwork(ports)
    try:
        network.start()
        yield network
    finally:
        network.stop()


@contextlib.contextmanager
def cuttable_mesh(
    folder: Path,
    size: int = 3,
    mode: Mode = Mode.CRASH,
    options: Sequence[str] = (),
) -> Iterator[tuple[RealMesh, CuttableNetwork]]:
    """Real peers, not started yet, that reach each other only through a cuttable network. Each has
    two ports: for blocks and for fetches."""
    with (
        held_ports(2 * size) as held,
        cuttable_network(pairs(held)) as network,
        RealMesh(folder, [], size, mode, options=options) as mesh,
    ):
        mesh.tell_places(pairs(held), network.address)
        yield mesh, network
