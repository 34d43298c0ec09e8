"""`python -m peer`: runs the commands of `peer.cli`."""

from peer.cli.main import entry

if __name__ == "__main__":
    entry()
