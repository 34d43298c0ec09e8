"""Keys, mesh files and who may use them."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner

from engine import Market
from peer.cli.main import main
from peer.consensus.committee import Committee, Mode
from peer.membership import mesh_file
from peer.membership.identity import Identity, IdentityError, Verifier, curve_public
from peer.membership.mesh_file import ConfigError, Member, MeshConfig
from peer.storage import data_folder
from peer.storage.journal import Journal, JournalError


def test_a_key_signs_and_its_public_half_verifies(tmp_path: Path) -> None:
    made = Identity.create(tmp_path / "key")
    loaded = Identity.load(tmp_path / "key")
    assert loaded.public == made.public
    assert loaded.curve_public == curve_public(made.public)
    signature = made.sign(b"words")
    assert Verifier(made.public).verify(b"words", signature)
    assert not Verifier(made.public).verify(b"other words", signature)
    assert not Verifier(Identity.ephemeral().public).verify(b"words", signature)


def test_a_key_is_never_overwritten_and_never_read_if_others_can(tmp_path: Path) -> None:
    path = tmp_path / "key"
    Identity.create(path)
    with pytest.raises(IdentityError, match="never overwritten"):
        Identity.create(path)
    path.chmod(0o640)
    with pytest.raises(IdentityError, match=r"can be read by others \(mode 640\): chmod 600"):
        Identity.load(path)
    path.chmod(0o600)
    path.write_text("abc")
    with pytest.raises(IdentityError, match="a key is 64 hex digits, not 3 characters"):
        Identity.load(path)
    with pytest.raises(IdentityError, match="make one with"):
        Identity.load(tmp_path / "nothing")


def config(**changes: object) -> MeshConfig:
    keys = [Identity(bytes([n]) * 32).public.hex() for n in range(3)]
    members = [Member(name, key) for name, key in zip(("ann", "bob", "cid"), keys, strict=True)]
    fields = {
        "name": 'a "quoted" mesh',
        "mode": Mode.CRASH,
        "created_ms": 1_700_000_000_000,
        "members": members,
        "markets": [Market("BTC-USD", "0.01", "0.00000001", price_band_percent=5)],
        "observers": [keys[0]],
    }
    return MeshConfig(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("observers", [[], "any", [Identity(b"o" * 32).public.hex()]])
def test_a_mesh_file_reads_back_as_written(tmp_path: Path, observers: object) -> None:
    written = config(observers=observers)
    mesh_file.write(written, tmp_path / "mesh.toml")
    read = mesh_file.load(tmp_path / "mesh.toml")
    assert read == written
    assert read.id == written.id


def test_the_mesh_id_follows_what_members_must_agree_on_and_nothing_else() -> None:
    assert config(observers=[]).id == config().id
    for changed in ({"mode": Mode.BYZANTINE}, {"created_ms": 1}, {"name": "b"}):
        assert config(**changed).id != config().id


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"members": []}, "expected 1 to 25 members, got 0"),
        ({"members": config().members * 2}, "every member name is there once"),
        ({"members": [Member("a b", config().members[0].key)]}, "a name is 1 to 32"),
        ({"members": [Member("a", "00")]}, "key of a: a key is 64 hex digits"),
        ({"markets": []}, "expected 1 to 64 markets, got 0"),
        ({"markets": [Market("X", "0", "1")]}, "X: tick is a decimal above 0"),
        ({"markets": [Market("X", "1", "nan")]}, "X: lot is a decimal above 0"),
        ({"observers": ["zz"]}, "observers: a key is 64 hex digits"),
    ],
)
def test_an_invalid_mesh_file_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    mesh_file.write(config(**changes), tmp_path / "mesh.toml")
    with pytest.raises(ConfigError, match=reason):
        mesh_file.load(tmp_path / "mesh.toml")


@pytest.mark.parametrize("field", ["members", "markets"])
def test_a_mesh_file_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "mesh.toml"
    mesh_file.write(config(), path)
    found = tomllib.loads(path.read_text())
    del found[field]
    path.write_text(tomli_w.dumps(found))
    with pytest.raises(ConfigError, match=f"missing required field `{field}`"):
        mesh_file.load(path)


def test_a_file_of_an_earlier_writer_loads(tmp_path: Path) -> None:
    member = config().members[0]
    path = tmp_path / "mesh.toml"
    path.write_text(
        "# A mesh of p2p-orderbook. Every member runs with this same file.\n"
        'name = "a"\n'
        'mode = "crash"  # crash: faults are stops; byzantine: members may lie\n'
        "created_ms = 5\n"
        "observers = []  # keys that may listen, or any\n"
        f'\n[[members]]\nname = "ann"\nkey = "{member.key}"\n'
        '\n[[markets]]\nsymbol = "X"\ntick = "1"\nlot = "1"\nquantity_min = 1\n'
    )
    fields = {"name": "a", "created_ms": 5, "members": [member], "observers": []}
    assert mesh_file.load(path) == config(markets=[Market("X", "1", "1")], **fields)


def test_a_mesh_by_hand(tmp_path: Path) -> None:
    """keygen, then mesh, as a user would."""
    runner = CliRunner()
    keys = []
    for name in ("ann", "bob", "cid"):
        made = runner.invoke(main, ["keygen", str(tmp_path / name)])
        assert made.exit_code == 0
        keys.append(f"--member={name}={made.output.strip()}")
    file = str(tmp_path / "mesh.toml")
    made = runner.invoke(main, ["mesh", file, *keys, "--market=ETH-USD:0.01:0.001"])
    assert made.exit_code == 0, made.output
    assert "3 members, quorum 2" in made.output
    read = mesh_file.load(tmp_path / "mesh.toml")
    assert read.committee == Committee(read.id, 3, Mode.CRASH, created_ms=read.created_ms)
    assert read.number_of(Identity.load(tmp_path / "bob" / "key").public) == 1
    again = runner.invoke(main, ["mesh", file, *keys, "--market=ETH-USD:0.01:0.001"])
    assert isinstance(again.exception, ConfigError)


def test_a_journal_belongs_to_one_key_and_one_mesh(tmp_path: Path) -> None:
    one, other = data_folder.create(tmp_path / "one"), Identity.ephemeral()
    path = tmp_path / "one" / "journal.db"
    Journal(path, one.public, b"m" * 16).close()
    with pytest.raises(JournalError, match="belongs to key"):
        Journal(path, other.public, b"m" * 16)
    with pytest.raises(JournalError, match="belongs to mesh"):
        Journal(path, one.public, b"n" * 16)
    journal = Journal(path, one.public, b"m" * 16)
    with pytest.raises(JournalError, match="is in use"):
        Journal(path, one.public, b"m" * 16)
    journal.close()
    with pytest.raises(JournalError, match="never overwritten"):
        Journal.create(path, one.public)
