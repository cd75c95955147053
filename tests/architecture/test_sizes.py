"""Modules and functions stay small, tests included."""

from collections.abc import Callable, Iterator

import pytest

from tests.architecture.rules import FUNCTION_LINES_MAX, LINES_MAX, functions_too_long, too_long
from tests.architecture.source import Module, NothingFound, modules

ALL = ("contracts/**/*.py", "infra/**/*.py", "sagas/**/*.py", "services/**/*.py", "tests/**/*.py")


@pytest.mark.parametrize("rule", [too_long, functions_too_long])
def test_every_module_and_function_is_short_enough(rule: Callable[[Module], Iterator[str]]) -> None:
    assert [wrong for module in modules(*ALL) for wrong in rule(module)] == []


def test_a_module_of_one_line_too_many_is_seen() -> None:
    assert list(too_long(Module("infra/long.py", "x = 1\n" * LINES_MAX))) == []
    assert list(too_long(Module("infra/long.py", "x = 1\n" * (LINES_MAX + 1)))) != []


def test_a_function_of_one_line_too_many_is_seen_wherever_it_is() -> None:
    def method(lines: int) -> Module:
        return Module("infra/long.py", "class It:\n    async def long(self):\n" + "        x = 1\n" * (lines - 1))

    assert list(functions_too_long(method(FUNCTION_LINES_MAX))) == []
    assert list(functions_too_long(method(FUNCTION_LINES_MAX + 1))) != []


def test_a_search_that_finds_nothing_fails() -> None:
    with pytest.raises(NothingFound):
        modules("nowhere/**/*.py")
