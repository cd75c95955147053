"""The rules of rules.py hold everywhere, and each is seen to turn red."""

import ast
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.rules import (
    CATCH_ALL,
    CLOCK,
    COMMITTERS,
    EDGES,
    catch_alls,
    clock_reads,
    impurities,
    misnamed,
    transactions_elsewhere,
)
from tests.architecture.source import Module, modules

Rule = Callable[[Module], Iterator[str]]


@pytest.mark.parametrize("rule", [misnamed, transactions_elsewhere, clock_reads, impurities])
def test_the_rule_holds_in_every_module(rule: Rule) -> None:
    assert [wrong for module in modules() for wrong in rule(module)] == []


def test_everything_is_caught_in_one_place_only() -> None:
    [place] = [place for module in modules() for place in catch_alls(module)]
    assert place.startswith(f"{CATCH_ALL}:")


def test_contracts_import_nothing_but_pydantic() -> None:
    imported = {
        name.split(".")[0]
        for module in modules("contracts/*.py")
        for node in ast.walk(module.tree)
        for name in _imported(node)
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert imported == {"contracts", "pydantic"}


def test_every_edge_that_may_read_the_clock_does() -> None:
    for edge in EDGES:
        [module] = modules(edge)
        assert list(clock_reads(Module("infra/elsewhere.py", module.text))), f"{edge} no longer reads the clock: take it off the list"


def test_every_module_that_may_commit_does() -> None:
    for name in (*COMMITTERS, CLOCK, CATCH_ALL):
        [module] = modules(name)
        elsewhere = Module("infra/elsewhere.py", module.text)
        assert [*transactions_elsewhere(elsewhere), *clock_reads(elsewhere), *catch_alls(elsewhere)], name


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (misnamed, "infra/utils.py", ""),
        (misnamed, "services/common/model.py", ""),
        (transactions_elsewhere, "services/orders/api.py", "await scope.session.commit()"),
        (transactions_elsewhere, "services/orders/api.py", "async with engine.begin() as connection: ..."),
        (transactions_elsewhere, "services/orders/repository.py", "async with scope.connection.transaction(): ..."),
        (transactions_elsewhere, "services/orders/repository.py", "await scope.connection.execute('COMMIT;')"),
        (transactions_elsewhere, "infra/outbox.py", "await connection.rollback()"),
        (catch_alls, "infra/relay.py", "try: ...\nexcept Exception: ..."),
        (catch_alls, "infra/relay.py", "try: ...\nexcept (OSError, BaseException) as error: raise Outage from error"),
        (catch_alls, "infra/relay.py", "try: ...\nexcept: ..."),
        (clock_reads, "services/orders/use_cases.py", "now()"),
        (clock_reads, "infra/batch.py", "clock.now()"),
        (clock_reads, "infra/sweeper.py", "datetime.now(UTC)"),
        (clock_reads, "sagas/engine/machine.py", "time.time()"),
        (impurities, "services/orders/use_cases.py", "async def place_order(command, book): ..."),
        (impurities, "sagas/engine/machine.py", "async def start(saga): await saga"),
        (impurities, "services/orders/use_cases.py", "try: ...\nexcept KeyError: ..."),
        (impurities, "services/orders/use_cases.py", "print('placed')"),
        (impurities, "services/orders/model.py", "from sqlmodel import Session"),
        (impurities, "services/orders/model.py", "from sqlalchemy.ext.asyncio import AsyncEngine"),
    ],
)
def test_the_rule_sees_what_breaks_it(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Module(name, text))) != []


def test_cleaning_up_and_raising_the_same_again_catches_nothing() -> None:
    assert list(catch_alls(Module("infra/relay.py", "try: ...\nexcept BaseException:\n    stop()\n    raise"))) == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []
