"""One connection of the web server, without a real client."""

import select
import socket
import threading

from flask import Flask
from waitress import wasyncore

from web.config import Config
from web.serve.connections import Channel, Listener


class SlowSocket(socket.socket):
    """During its first send, another thread begins to send."""

    def __init__(self, other: threading.Thread, mine: socket.socket) -> None:
        super().__init__(mine.family, mine.type, fileno=mine.detach())
        self.other = other

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        if self.other.ident is None:
            self.other.start()
            self.other.join(0.3)  # it waits for us, or has sent the same
        return super().send(data, flags)


def test_nothing_is_sent_twice() -> None:
    """Found by fuzzing: a thread sends `100 Continue`, and the main thread sends the same bytes."""
    mine, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as door, theirs:
        listener = Listener(Flask("none"), Config("", "", threads=1), door)
        main = threading.Thread(target=lambda: channel.handle_write())
        sock = SlowSocket(main, mine)
        channel = Channel(listener, sock, ("127.0.0.1", 1), listener.adj, map={})
        channel.request = channel.parser_class(listener.adj)
        channel.send_continue()
        main.join()
        channel.handle_close()
        assert theirs.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        listener.task_dispatcher.shutdown()
        wasyncore.close_all(listener._map)


class Asked(Channel):
    """Counts how often it is asked what to wait for."""

    times = 0

    def readable(self) -> bool:
        Asked.times += 1
        return super().readable()


def test_a_turn_costs_the_same_however_many_connections_are_idle() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as door:
        listener = Listener(Flask("none"), Config("", "", threads=1), door)
        listener.channel_class = Asked
        clients = [socket.create_connection(door.getsockname()) for _ in range(100)]
        while len(listener.active_channels) < len(clients):
            listener.turn(1)
        listener.turn(0)
        Asked.times = 0
        for _ in range(10):
            clients[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not select.select([clients[0]], [], [], 0)[0]:
                listener.turn(0.01)
            assert clients[0].recv(100_000).startswith(b"HTTP/1.1 404")
        assert Asked.times < 100
        for client in clients:
            client.close()
        while listener.active_channels:
            listener.turn(1)
        listener.task_dispatcher.shutdown()
        wasyncore.close_all(listener._map)
        listener.turns.close()
