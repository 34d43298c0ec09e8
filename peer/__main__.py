"""`python -m peer`: all commands. They are in `peer.cli`."""

from peer.cli.main import entry

if __name__ == "__main__":
    entry()
