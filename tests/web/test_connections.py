"""One connection of the web server, without a real client."""

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
