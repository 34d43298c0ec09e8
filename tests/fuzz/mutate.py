"""Valid input, changed a little where it hurts. Pure: the same `rng` gives the same input.

Owns the changes. Bytes are changed as bytes; msgpack and JSON as the values they hold, down into
byte strings that hold msgpack themselves, and are encoded again.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

Value = Any
NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 127, 255, 256, 2**31, 2**48, 2**53, 2**63, 2**64 - 1)
TEXTS = ("", "0", "1e999", "-1", "NaN", "9" * 5_000, ".", "\0", "é\u202e", "a" * 300, "None", "[]")
BLOBS = (b"", b"\0", b"\xff" * 32, b"\xc1", b"\x91" * 2_000, b"\xdd\xff\xff\xff\xff", b"x" * 300)
DEEP = msgspec.Raw(b"\x91" * 5_000 + b"\xc0")


def of_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat, insert; once or a few times."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xDC, 0xFF))
            case 2:
                del changed[at : at + rng.choice((1, 2, 8, 64, 1_000))]
            case 3:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))
            case 4:
                changed[at:at] = changed[at : at + rng.choice((1, 8, 64))]
    return bytes(changed)


def of_msgpack(rng: random.Random, data: bytes) -> bytes:
    """What msgpack holds, changed; or its bytes, now and then or if it is none."""
    if rng.random() < 0.2:
        return of_bytes(rng, data)
    try:
        value = msgspec.msgpack.decode(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = of_value(rng, value)
        return msgspec.msgpack.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, TypeError):
        return of_bytes(rng, data)


def of_json(rng: random.Random, data: bytes) -> bytes:
    """What JSON holds, changed; or its bytes, now and then or if it is none."""
    if rng.random() < 0.2:
        return of_bytes(rng, data)
    try:
        return json.dumps(of_value(rng, json.loads(data), odd=_odd_json)).encode()
    except (ValueError, RecursionError, TypeError):
        return of_bytes(rng, data)


def _odd(rng: random.Random) -> Value:
    pool: Callable[[], Value] = rng.choice(
        (
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(TEXTS),
            lambda: rng.choice(BLOBS),
            lambda: DEEP,
            lambda: rng.choice((None, True, False, 0.5, float("nan"), float("inf"))),
            lambda: rng.choice(([], {}, [[]], [None] * 40, {"a": 1})),
            lambda: rng.randrange(1_000),
        )
    )
    return pool()


def _odd_json(rng: random.Random) -> Value:
    while isinstance(odd := _odd(rng), bytes | msgspec.Raw):
        pass
    return odd


def of_value(
    rng: random.Random, value: Value, odd: Callable[[random.Random], Value] = _odd
) -> Value:
    """One change, anywhere in a tree of lists, maps and leaves."""
    if isinstance(value, list) and value and rng.random() < 0.9:
        return _of_list(rng, list(value), odd)
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(6):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {str(odd(rng))[:400]: odd(rng)}
            case _:
                return value | {key: of_value(rng, value[key], odd)}
    if isinstance(value, bytes) and len(value) > 4 and rng.random() < 0.8:
        return of_msgpack(rng, value)
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 2, 64, 1_000))
    if isinstance(value, str) and value and rng.random() < 0.5:
        return of_bytes(rng, value.encode()).decode(errors="replace")
    return odd(rng)


def _of_list(
    rng: random.Random, items: list[Value], odd: Callable[[random.Random], Value]
) -> list[Value]:
    at = rng.randrange(len(items))
    match rng.randrange(8):
        case 0:
            del items[at]
        case 1:
            items.insert(at, items[rng.randrange(len(items))])
        case 2:
            other = rng.randrange(len(items))
            items[at], items[other] = items[other], items[at]
        case 3:
            items.insert(at, odd(rng))
        case _:
            items[at] = of_value(rng, items[at], odd)
    return items
