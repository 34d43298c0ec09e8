"""Types limit the nesting depth of values, not the interpreter's stack.

Input of others is decoded to types of a fixed depth, without fields that a decoder would have to
skip. A decoder skips nested values to any depth, until the interpreter stops it, at another depth
in each version of Python. Then two peers could differ on whether a block is valid.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinMethodType
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

import discovery
import engine
import peer
import web
from peer.client import protocol
from peer.client.endpoint import parse
from peer.membership.mesh_file import ConfigError, load
from tests.fuzz.mutate import DEEP
from web.config import NESTED_MAX
from web.contract.problems import Problem
from web.contract.requests import nesting, parse_json

KINDS = (msgspec.msgpack.Decoder, msgspec.json.Decoder)
EXCEPT = {
    "peer.client.connection._decode",  # messages of the user's own node are trusted
    "web.contract.requests._decode",  # its depth is counted before, see below
    # It tells only whether an invalid frame is perhaps one of a later epoch, and catches the error.
    "peer.consensus.block._prefix_decoder",
    # Rows of the own journal, whose parts are copied as they are: whoever reads them decodes them.
    "peer.storage.history_segment._encoded",
    "peer.cli.governance_commands._wanted",  # what the user typed; too deep is an error of usage
}
LEAVES = (
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.EnumType,
)
DEPTHS = (40, 900, 5_000, 9_000, 200_000)  # 3.11 stops before the second, 3.13 before the last


def decoders() -> list[tuple[str, Any]]:
    """Each decoder that a module keeps, and its type."""
    kept: list[tuple[str, Any]] = []
    for package in (discovery, engine, peer, web):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            for name, value in vars(importlib.import_module(found.name)).items():
                full = f"{found.name}.{name}"
                if isinstance(value, BuiltinMethodType):  # a decoder's `decode` alone
                    value = value.__self__
                if isinstance(value, KINDS) and full not in EXCEPT:
                    kept.append((full, value.type))
    return kept


def inside(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The types inside `kind`; asserts that a decoder of it never has to skip a field."""
    match kind:
        case inspect.StructType():
            assert kind.forbid_unknown_fields, f"{kind.cls} skips fields it does not know"
            yield from (field.type for field in kind.fields)
        case inspect.NamedTupleType():
            yield from (field.type for field in kind.fields)
        case inspect.UnionType():
            maps = [each for each in kind.types if isinstance(each, inspect.StructType)]
            maps = [each for each in maps if not each.array_like]
            is_request = all(each.cls in get_args(protocol.Request) for each in maps)
            assert len(maps) < 2 or is_request, "all that is before a tag is skipped"
            yield from kind.types
        case inspect.ListType() | inspect.VarTupleType():
            yield kind.item_type
        case inspect.TupleType():
            yield from kind.item_types
        case inspect.DictType():
            yield from (kind.key_type, kind.value_type)
        case _:
            assert isinstance(kind, LEAVES), f"{kind} may hold anything"


def check(kind: inspect.Type, above: tuple[inspect.Type, ...] = ()) -> None:
    assert kind not in above, f"{kind} is inside itself"
    for each in inside(kind):
        check(each, (*above, kind))


DECODERS = decoders()


@pytest.mark.parametrize(("name", "kind"), DECODERS)
def test_a_decoder_has_its_own_nesting_depth(name: str, kind: Any) -> None:
    check(inspect.type_info(kind))


def test_the_decoders_are_found() -> None:
    names = {name for name, _ in DECODERS}
    assert {
        "engine.rows._decode",
        "peer.client.endpoint._requests",
        "discovery.grape._replies",
    } <= names


def test_the_first_field_of_a_request_is_its_type() -> None:
    """Otherwise the decoder would skip everything before the type, at any depth."""
    for request in ({"more": DEEP, "type": "get_markets"}, {"type": "get_markets", "more": DEEP}):
        parsed = parse([b"connection", b"id", msgspec.msgpack.encode(request)])
        assert parsed is not None
        assert isinstance(parsed[1], protocol.Refused)
    parsed = parse([b"connection", b"id", msgspec.msgpack.encode(protocol.GetMarkets())])
    assert parsed is not None
    assert parsed[1] == protocol.GetMarkets()


@pytest.mark.parametrize(("open_", "shut"), [("[", "]"), ('{"a":', "}"), ('[{"[":', "}]")])
def test_the_nesting_depth_of_json_is_limited(open_: str, shut: str) -> None:
    fits = NESTED_MAX // len(shut)
    assert parse_json(open_ * fits + "1" + shut * fits)
    for depth in (fits + 1, *DEPTHS):
        for text in (open_ * depth + "1" + shut * depth, open_ * depth):
            with pytest.raises(Problem, match="inside each other"):
                parse_json(text.encode())


def test_brackets_in_strings_nest_nothing() -> None:
    text = r'["[[[[[[[[[[[[[[[[[[[[[[[[", "\"[{[{[{[{[{[{", "\\", [{"{{{{{{{{{{{{{{{{": "\\\"["}]]'
    assert nesting(text) == 3
    assert len(parse_json(text)) == 4
    assert nesting("[" * 20 + '"' * 200_001) == 20  # and takes no longer than it is long
    assert nesting("[" * 20 + '"\\' * 200_001) == 20


def test_the_nesting_depth_of_a_mesh_file_is_limited(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text(f"name = {'[' * 200_000}")
    with pytest.raises(ConfigError, match=r"mesh\.toml"):
        load(file)
