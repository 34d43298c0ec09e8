"""A server on loopback that answers a Grape's client as a test wants."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from discovery.grapes import free_ports


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """An HTTP server that reads a request and then calls `behave`; yields its URL and a counter."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connections.append(connection.fileno())
                read_request(connection)
                try:
                    behave(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def read_request(connection: socket.socket) -> None:
    """Read the whole request: to close a socket with unread data would reset the connection."""
    with connection.makefile("rb") as file:
        length = 0
        while line := file.readline().strip():
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        file.read(length)


def reply(body: bytes, status: str = "200 OK") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda connection: connection.sendall(head + body)


def dead_url() -> str:
    _, (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}"
