"""The pictures in docs/: `make screenshots` takes them again.

Three real peers found through a real Grape, a minute of trading through all of them, and a real
browser. `no-quorum` is alice's page after bob and carol were killed. `alarm` is carol's page after
her journal was replaced by an older copy; her peer notices that and stops.
"""

import base64
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Page

from discovery.grapes import running_grapes
from peer.cli.market_makers import Floor
from peer.storage.data_folder import JOURNAL_FILE
from tests.support.browser import open_mesh, running_chromium, show
from tests.support.real_mesh import MARKETS, RealMesh, RealPeer
from tests.support.web_gateway import Gateway, running_gateway

STATE = Path(__file__).parents[1] / ".run"
QUALITY = 0.6
SEED, RATE = 7, 60
LANE_S = 25.0  # fills most of the peers' lanes on a page
# Chromium's own PNG of a wide page is three times as large.
TO_WEBP = """async ([png, quality]) => {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", quality).split(",")[1];
}"""
NAMES = ("alice", "bob", "carol")
WIDE, MIDDLING, NARROW = (1440, 900), (1024, 768), (390, 844)


class Studio:
    """The mesh, a gateway of every peer, and a browser."""

    def __init__(
        self, browser: Browser, mesh: RealMesh, floor: Floor, gateways: list[Gateway], to: Path
    ) -> None:
        self.browser, self.mesh, self.gateways, self.to = browser, mesh, gateways, to
        self._floor = floor

    def trade(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self._floor.run(lambda: time.monotonic() > until_s, say=lambda _: None)

    @contextmanager
    def page(
        self, peer: int = 0, size: tuple[int, int] = WIDE, scheme: Any = "dark", **kept: object
    ) -> Iterator[Page]:
        """A page of one peer; `kept` is the browser's storage. A reader's page has no session."""
        reads = kept.pop("reader", False)
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        page = context.new_page()
        kept = {"interval": 1} | kept
        for name, value in kept.items():
            entry = json.dumps([f"orderbook.{name}", json.dumps(value)])
            page.add_init_script(f"localStorage.setItem(...{entry})")
        gateway = self.gateways[peer]
        page.goto(gateway.url if reads else gateway.link(NAMES[peer]))
        page.wait_for_timeout(1_500)
        yield page
        context.close()

    def shoot(self, page: Page, name: str) -> None:
        page.wait_for_timeout(400)
        picture = base64.b64encode(page.screenshot(animations="disabled")).decode()
        encoder = self.browser.new_page()
        small = encoder.evaluate(TO_WEBP, [picture, QUALITY])
        encoder.close()
        path = self.to / f"{name}.webp"
        path.write_bytes(base64.b64decode(small))
        click.echo(f"{path}: {path.stat().st_size // 1024} KiB")

    def own_orders(self) -> None:
        """Place some orders of alice, at her own peer and at another one."""
        middle = self.mesh.peers[0].state().trades[0].price
        for number, (side, away, size) in enumerate(
            [
                ("buy", -2_500, "0.5"),
                ("sell", 3_000, "0.75"),
                ("buy", -6_000, "1.2"),
                ("sell", 9_000, "0.4"),
            ]
        ):
            price = f"{(middle + away) / 100:.2f}"
            order = {"side": side, "price": price, "quantity": size, "account": "alice"}
            self.gateways[number % 2].order(**order)
        self.gateways[0].order(side="buy", type="market", quantity="0.125", account="alice")


@contextmanager
def studio(to: Path) -> Iterator[Studio]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        grapes = stack.enter_context(running_grapes(1, STATE))
        urls = [grape.spec.url for grape in grapes]
        mesh = stack.enter_context(RealMesh(folder, urls, names=NAMES))
        mesh.start()
        gateways = []
        for peer in mesh.peers:
            gateway = stack.enter_context(running_gateway(peer.folder))
            gateways.append(gateway.wait_ready())
        browser = stack.enter_context(running_chromium())
        peers = {peer.folder.name: peer.folder for peer in mesh.peers}
        floor = stack.enter_context(Floor(peers, MARKETS, SEED, RATE))
        yield Studio(browser, mesh, floor, gateways, to)


def take_busy(studio: Studio) -> None:
    for scheme in ("dark", "light"):
        with studio.page(scheme=scheme) as page:
            studio.trade(LANE_S)
            studio.shoot(page, f"page-{scheme}")
    with studio.page(size=NARROW, scheme="light") as page:
        studio.trade(1)
        studio.shoot(page, "page-mobile")
        show(page, "Mesh")
        studio.trade(LANE_S)
        studio.shoot(page, "page-mobile-mesh")


def take_no_quorum(studio: Studio) -> None:
    with studio.page() as page:
        studio.trade(LANE_S * 2 / 3)
        for peer in studio.mesh.peers[1:]:
            peer.kill()
        page.locator(".health.quorum").wait_for()
        waiting = {"side": "buy", "price": "67249.50", "quantity": "0.3", "account": "alice"}
        assert studio.gateways[0].ask("POST", "/order", waiting).status == 202
        studio.shoot(page, "page-no-quorum")
    for peer in studio.mesh.peers[1:]:
        peer.start()
    studio.mesh.wait_quorum(studio.mesh.peers[1:])


def take_alarm(studio: Studio) -> None:
    carol = studio.mesh.peers[2]
    carol.stop()
    copies = {file: file.read_bytes() for file in journal_files(carol)}
    carol.start()
    studio.mesh.wait_quorum([carol])
    studio.trade(2)
    carol.stop()
    put_back(carol, copies)
    carol.start()
    with studio.page(2) as page:
        page.locator(".health.halted").wait_for(timeout=20_000)
        open_mesh(page)
        studio.shoot(page, "page-alarm")


def journal_files(peer: RealPeer) -> list[Path]:
    return list(peer.folder.glob(f"{JOURNAL_FILE}*"))


def put_back(peer: RealPeer, copies: Mapping[Path, bytes]) -> None:
    """Replace a journal by an older copy, which an operator must never do."""
    for file in journal_files(peer):
        file.unlink()
    for file, content in copies.items():
        file.write_bytes(content)


TAKES = {"busy": take_busy, "no-quorum": take_no_quorum, "alarm": take_alarm}


@click.command()
@click.option("--to", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@click.option("--seconds", default=75.0, show_default=True, help="Of trading before the first.")
@click.option("--only", type=click.Choice(list(TAKES)), multiple=True)
def main(to: Path, seconds: float, only: tuple[str, ...]) -> None:
    with studio(to) as here:
        here.trade(seconds)
        here.own_orders()
        for name, take in TAKES.items():
            if not only or name in only:
                take(here)


if __name__ == "__main__":
    main()
