"""The accounts that a gateway mirrors: a limited number, and first those with listeners."""

from pathlib import Path

from web.config import ACCOUNTS_MAX, Config
from web.gateway import Gateway


def test_an_account_with_listeners_is_not_pushed_out(tmp_path: Path) -> None:
    gateway = Gateway(Config(f"ipc://{tmp_path}/node"))
    gateway.start()
    try:
        mirrored = gateway.mirrors.accounts
        gateway.feed.note_listeners("ann", 1)
        for number in range(ACCOUNTS_MAX):
            gateway.feed.watch(f"guest-{number}")
        assert len(mirrored) == ACCOUNTS_MAX
        assert "ann" in mirrored
        gateway.feed.note_listeners("ann", 0)
        gateway.feed.watch("one more")
        assert "ann" not in mirrored
    finally:
        gateway.stop()
