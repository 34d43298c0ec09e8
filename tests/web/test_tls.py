"""The page over TLS, with a certificate made for the test."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import simple_websocket
import trustme

from tests.support.web_gateway import Stream, buy, stand_in, wait_for
from web.auth.keys import KEYS_FILE, Keys, Scope


class Secure(NamedTuple):
    port: int
    context: ssl.SSLContext
    keys: Keys
    authority: trustme.CA
    folder: Path
    log: Path

    def certificate(self) -> bytes | None:
        """The certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert(binary_form=True)

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Any:
        connection = http.client.HTTPSConnection(
            "localhost", self.port, context=self.context, timeout=10
        )
        with closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            return response


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    keys, log = Keys(folder / KEYS_FILE), folder / "log"
    with stand_in(folder), log.open("wb") as output:
        command = [sys.executable, "-m", "web", "--data", str(folder), "--bind", "127.0.0.1:0"]
        command += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            found = wait_for(
                "TLS", lambda: re.search(r"https://127.0.0.1:(\d+)", log.read_text()), 60
            )
            yield Secure(int(found[1]), context, keys, authority, folder, log)
        finally:
            process.terminate()
            process.wait(10)
            keys.close()
        assert "Traceback" not in log.read_text(), log.read_text()


def test_pages_and_sessions_are_secure(web: Secure) -> None:
    assert web.ask("GET", "/healthz").status == 200
    token = web.keys.link("ann", [Scope.TRADE])
    opened = web.ask("POST", "/session/link", json.dumps({"token": token}))
    assert opened.status == 200
    assert "Secure" in opened.headers["Set-Cookie"]


def test_a_stream_and_an_order_over_one_socket(web: Secure) -> None:
    bearer = {"Authorization": f"Bearer {web.keys.create('ann', [Scope.TRADE])}"}
    where = f"wss://localhost:{web.port}/ws?channels=book"
    client = simple_websocket.Client.connect(where, headers=bearer, ssl_context=web.context)
    stream = Stream(client)
    assert stream.channel("book", "snapshot")
    stream.send(op="order", id=1, order=buy("3", "1", "ann"))
    assert stream.reply(1)["result"]["status"] == "open"
    client.close()
    client.thread.join(5)
    client.sock.close()


def test_a_page_of_another_site_is_refused_here_too(web: Secure) -> None:
    bearer = f"Bearer {web.keys.create('ann', [Scope.TRADE])}"
    asked = {"Authorization": bearer, "Origin": "https://evil.example"}
    assert web.ask("DELETE", "/orders", **asked).status == 403


def test_plain_http_gets_nothing(web: Secure) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    with closing(plain):
        plain.request("GET", "/healthz")
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.getresponse()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tls-cert", "cert.pem"], "--tls-cert and --tls-key go together"),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "no.pem"),
    ],
)
@pytest.mark.parametrize("module", ["web", "peer"])
def test_errors_in_the_certificate_files_are_reported(
    tmp_path: Path, module: str, options: list[str], complaint: str
) -> None:
    command = [sys.executable, "-m", module, *(["run"] if module == "peer" else [])]
    command += ["--data", str(tmp_path), *options]
    if module == "peer":
        command += ["--mesh", str(tmp_path / "mesh.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_notices_an_untrusted_certificate(web: Secure, tmp_path: Path) -> None:
    stranger = http.client.HTTPSConnection("localhost", web.port, timeout=10)
    with closing(stranger), pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/healthz")


def test_a_renewed_certificate_is_used_without_a_restart(web: Secure) -> None:
    before = web.certificate()
    kept = http.client.HTTPSConnection("localhost", web.port, context=web.context, timeout=10)
    with closing(kept):
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        made = web.authority.issue_cert("localhost")
        made.cert_chain_pems[0].write_to_path(web.folder / "cert.pem")
        wait_for("the half renewal", lambda: "the old one stays" in web.log.read_text())
        assert web.certificate() == before
        made.private_key_pem.write_to_path(web.folder / "key.pem")
        wait_for("the new certificate", lambda: web.certificate() != before)
        assert web.ask("GET", "/healthz").status == 200
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
