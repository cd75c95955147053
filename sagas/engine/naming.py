"""Which messages a lambda of a saga speaks of, read off its code without calling it."""

import dis
import inspect
import typing
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any, Final

from contracts.messages import Command, Reply

Build = Callable[..., Any]
"""An `ask`, `undo`, `when` or `abandon`."""

_SUBSCRIPTS: Final = ("BINARY_SUBSCR", "BINARY_OP")
"""What follows when `so_far[...]` is taken; later Pythons have one instruction for all operators."""
_PASSED_OVER: Final = ("CACHE", "PUSH_NULL", "PRECALL", "NOP", "RESUME")


class UnclearCommand(Exception):
    """It cannot be told which command is built: it must name exactly one Command class, or be annotated to return one."""

    def __init__(self, build: Build, found: list[str]) -> None:
        super().__init__(f"names {len(found)} commands ({', '.join(found) or 'none'}); name exactly one, or annotate what is returned")
        self.build, self.found = build, found


@lru_cache(maxsize=4096)
def command_of(build: Build) -> type[Command[Any]]:
    """The class of command that `build` makes, without calling it; raises UnclearCommand."""
    annotated = typing.get_type_hints(build).get("return")
    if inspect.isclass(annotated) and issubclass(annotated, Command):
        return annotated
    found = {named for named, _ in _classes_named_in(build) if issubclass(named, Command)}
    if len(found) != 1:
        raise UnclearCommand(build, sorted(command.__name__ for command in found))
    return found.pop()


def replies_named_in(build: Build | None) -> list[tuple[type[Reply], bool]]:
    """Every reply that it looks at; with True if it is taken by `so_far[...]`, which fails where there is none."""
    return [] if build is None else [(named, taken) for named, taken in _classes_named_in(build) if issubclass(named, Reply)]


def _classes_named_in(build: Build) -> Iterator[tuple[type, bool]]:
    variables = inspect.getclosurevars(build)
    names = {**variables.builtins, **build.__globals__, **variables.nonlocals}
    yield from _in_code(build.__code__, names)


def _in_code(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[type, bool]]:
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _PASSED_OVER]
    named: Any = None
    for here, after in zip(instructions, [*instructions[1:], None], strict=True):
        if here.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
            named = names.get(here.argval)
        elif here.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(named, ModuleType):
            named = getattr(named, here.argval, None)
        else:
            named = None
        if inspect.isclass(named):
            yield named, after is not None and after.opname in _SUBSCRIPTS
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _in_code(inner, names)
