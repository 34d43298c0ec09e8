"""TLS in front of the web server, in the same process.

Owns the public port and the encryption. It reloads the certificate files when they change, so a
renewal needs no restart. It forwards each connection in plain text to the server's own port on
loopback; the server asks here for the client's address. Must never look into the data. The server
itself cannot do TLS because the hub takes over its sockets, and only plain sockets can be taken
over.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter

from web.serve.client_address import counted, release

ADDRESS_CONNECTIONS_MAX = 300
CHUNK_BYTES = 64 * 1024
HANDSHAKE_SECONDS = 10.0
START_SECONDS = 5.0
STOP_SECONDS = 1.0
LOOK_SECONDS = 2.0  # between two checks of the certificate files

_log = logging.getLogger(__name__)


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """The TLS context of a certificate. OSError (ssl.SSLError is one) if the files can't be read or
    do not match."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key, password="")  # else it asks on the terminal
    return context


def _versions(files: tuple[str, ...]) -> list[tuple[int, ...] | None]:
    """A value that changes whenever one of the files changes."""
    found: list[tuple[int, ...] | None] = []
    for name in files:
        try:
            status = os.stat(name)
            found.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return found


class TlsProxy:
    """Listens on `bind`, HOST:PORT, once started. `files` are the PEM files of certificate and key.
    It forwards up to `most` connections to the server's port `inside`. OSError if the files can't
    be used."""

    def __init__(self, bind: str, files: tuple[str, str], inside: int, most: int) -> None:
        self._most = most
        self.port = 0
        self._bind = bind
        self._files = files
        self._seen = _versions(files)
        self._newest = self._first = context_of(*files)
        self._first.sni_callback = self._choose  # called at every handshake, with or without a name
        self._inside = inside
        self._open: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()
        self._clients: dict[
            int, str
        ] = {}  # client address by the port of its connection to the server
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)

    def start(self) -> None:
        """Start listening. OSError, ValueError or OverflowError if that is impossible."""
        self._thread.start()
        self._listening.wait(START_SECONDS)
        if self._failure is not None:
            raise self._failure

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def client_of(self, port: int) -> str | None:
        """The client's address for a connection from this port. Thread-safe."""
        return self._clients.get(port)

    def stop(self) -> None:
        """Stop. Call it after the server has closed its connections."""
        with contextlib.suppress(RuntimeError):  # it never started, or has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._listen())

    async def _listen(self) -> None:
        host, _, port = self._bind.rpartition(":")
        try:
            server = await asyncio.start_server(
                self._accept,
                host.strip("[]"),
                int(port),
                ssl=self._first,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, ValueError, OverflowError) as error:
            self._failure = error
            self._listening.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        while not self._stop.is_set():
            self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_SECONDS)
        server.close()
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_SECONDS / 2)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _choose(self, connection: ssl.SSLObject, _name: str, _first: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _look(self) -> None:
        """Reload changed files, unless they do not match: a renewal writes one after the other."""
        seen = _versions(self._files)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._newest = context_of(*self._files)
            _log.warning("the certificate has changed: new connections get the new one")
        except OSError as error:
            _log.error(
                "the certificate has changed and can't be used; the old one stays: %s", error
            )

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        address = writer.get_extra_info("peername")[0]
        name = counted(address)
        crowded = self._addresses[name] >= ADDRESS_CONNECTIONS_MAX
        if crowded or len(self._open) >= self._most:
            writer.close()
            return
        self._open.add(task)
        self._addresses[name] += 1
        try:
            await self._pass_on(address, reader, writer)
        except OSError:
            pass  # one side has closed
        finally:
            self._open.discard(task)
            release(self._addresses, name)
            writer.close()

    async def _pass_on(self, address: str, reader: StreamReader, writer: StreamWriter) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            self._clients[port] = address  # before the server asks for it
            try:
                await self._loop.sock_connect(sock, ("127.0.0.1", self._inside))
                await self._pump_both(reader, writer, *await asyncio.open_connection(sock=sock))
            finally:
                del self._clients[port]

    async def _pump_both(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        answers: StreamReader,
        server: StreamWriter,
    ) -> None:
        pumps = [
            asyncio.ensure_future(_pump(reader, server)),
            asyncio.ensure_future(_pump(answers, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server.close()


async def _pump(source: StreamReader, sink: StreamWriter) -> None:
    """Copy a stream, never more than a buffer ahead of the reader."""
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
