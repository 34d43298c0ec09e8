"""Small objects that plain CPython makes and changes fast.

Owns the one interpreter trick of the engine. Compiled code does not need it. Must never change what
a class does.
"""

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_: object) -> Callable[[type], type]:
        """Only the compiler reads these, so running needs no `mypy_extensions`."""
        return lambda cls: cls


def light(cls: type) -> type:
    """A msgspec struct with the fields, methods and properties of `cls`, made three times as fast.

    The garbage collector ignores it: code that links such objects in a cycle must unlink them.
    msgspec's own setter only informs the collector. So objects get the ordinary setter, which
    CPython runs in one step.
    """
    fields: list[Any] = [
        (each.name, Any) if each.default is each.empty else (each.name, Any, each.default)
        for each in inspect.signature(cls).parameters.values()
    ]
    methods = {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, FunctionType | property) and name != "__init__"
    }
    made = msgspec.defstruct(
        cls.__name__,
        fields,
        namespace={**methods, "__doc__": cls.__doc__},
        module=cls.__module__,
        gc=False,
        eq=False,
    )
    made.__setattr__ = object.__setattr__  # type: ignore[method-assign]
    made.__delattr__ = object.__delattr__  # type: ignore[method-assign]
    return made
