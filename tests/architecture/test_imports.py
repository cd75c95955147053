"""Who may import whom: the contracts in pyproject.toml hold, and each is broken by an import that it is there to forbid."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.architecture.source import PACKAGES, ROOT, document


class Mutant(NamedTuple):
    """An import that the contract forbids."""

    contract: str
    file: str
    line: str


MUTANTS: Final = (
    Mutant("layers", "infra/batch.py", "import services.orders.model"),
    Mutant("layers", "infra/relay.py", "import sagas.place_order"),
    Mutant("layers", "contracts/values.py", "import infra.clock"),
    Mutant("layers", "services/orders/api.py", "import sagas.place_order"),
    Mutant("layers", "sagas/consumers.py", "import services.orders.model"),
    Mutant("services-apart", "services/orders/repository.py", "import services.inventory.model"),
    Mutant("contracts-alone", "contracts/messages.py", "import sqlalchemy"),
    Mutant("contracts-alone", "contracts/orders.py", "import asyncio"),
    Mutant("engine-knows-no-domain", "sagas/engine/coordinator.py", "import sagas.place_order"),
    Mutant("engine-knows-no-domain", "sagas/engine/verify.py", "import contracts.orders"),
    Mutant("across-tenants", "services/orders/repository.py", "import infra.unscoped.due"),
    Mutant("across-tenants", "infra/consumer.py", "import infra.unscoped.due"),
    Mutant("operators-search", "sagas/api.py", "import infra.unscoped.sagas"),
    Mutant("letters-search", "services/ops/desk/letters.py", "import infra.unscoped.letters"),
    Mutant("letters-search", "services/orders/api.py", "import infra.unscoped.letters"),
    Mutant("letters-search", "services/ops/mend/revisions.py", "import infra.unscoped.letters"),
    Mutant("findings-search", "services/ops/desk/letters.py", "import infra.unscoped.findings"),
    Mutant("backlog-counts", "services/orders/api.py", "import infra.unscoped.backlog"),
    Mutant("reconciling-finds-tenants", "services/inventory/reconciling.py", "import infra.unscoped.tenants"),
    Mutant("replays-search", "services/ops/replay/outcomes.py", "import infra.unscoped.replays"),
    Mutant("commands-on-top", "infra/settings.py", "import infra.cli.plainly"),
    Mutant("commands-on-top", "services/ops/ops_api.py", "import infra.cli.letters.drawing"),
    Mutant("machine-is-pure", "sagas/engine/machine.py", "import infra.clock"),
    Mutant("machine-is-pure", "sagas/engine/definition.py", "import asyncio"),
    Mutant("use-cases-are-pure", "services/orders/use_cases.py", "import infra.transaction"),
    Mutant("use-cases-are-pure", "services/tenants/model.py", "import asyncpg"),
    Mutant("use-cases-are-pure", "services/ops/replay/machine.py", "import infra.clock"),
    Mutant("use-cases-are-pure", "services/inventory/use_cases.py", "import services.inventory.repository"),
    Mutant("use-cases-know-no-database", "services/orders/use_cases.py", "import sqlmodel"),
)


def contracts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(document("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert found, "pyproject.toml holds no import contract"
    return found


DRIVER: Final = """
import contextlib, io, json, pathlib, sys
from importlinter.cli import lint_imports
for contract, file, line in json.load(sys.stdin):
    path, said = pathlib.Path(file), io.StringIO()
    before = path.read_text()
    path.write_text(f"{before}\\n{line}\\n")
    with contextlib.redirect_stdout(said):
        lint_imports(limit_to_contracts=(contract,), no_cache=False)
    path.write_text(before)
    print(json.dumps(said.getvalue()))
"""
"""Breaks one contract after the other in one process: starting one for each would take most of the time."""


def lint(root: Path) -> str:
    """What lint-imports says about the tree in `root`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[Mutant, str]:
    """What lint-imports says about each mutant, in a copy of the tree."""
    root = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{DRIVER}"]
    done = subprocess.run(command, cwd=root, input=json.dumps(MUTANTS), capture_output=True, text=True, timeout=60, check=True)
    return dict(zip(MUTANTS, map(json.loads, done.stdout.splitlines()), strict=True))


def test_every_import_contract_is_kept() -> None:
    said = lint(ROOT)
    assert f"Contracts: {len(contracts())} kept, 0 broken." in said, said


def test_every_import_contract_has_a_mutant() -> None:
    assert {contract["id"] for contract in contracts()} == {contract for contract, _, _ in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_contract_is_broken_by_the_import_it_forbids(said: dict[Mutant, str], mutant: Mutant) -> None:
    [name] = [one["name"] for one in contracts() if one["id"] == mutant.contract]
    assert f"{name} BROKEN" in said[mutant], said[mutant]


def test_nothing_gets_the_search_across_tenants_from_a_module_that_may_import_it() -> None:
    """Else the list of importers would name one module, and everybody would ask that."""
    handed_on = [
        (path, module, name.name)
        for path, module, imported in _imports()
        for name in imported
        if not module.startswith("infra.unscoped.") and name.name in _unscoped_names(module)
    ]
    assert not handed_on, "import it from infra.unscoped, and stand in the import contract"


@cache
def _imports() -> list[tuple[str, str, list[ast.alias]]]:
    """File, module that it imports from, and what."""
    return [
        (str(path.relative_to(ROOT)), node.module or "", node.names)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]


@cache
def _unscoped_names(module: str) -> frozenset[str]:
    """What the module has imported from infra.unscoped."""
    path = f"{module.replace('.', '/')}.py"
    return frozenset(name.name for of, source, names in _imports() if of == path and source.startswith("infra.unscoped.") for name in names)
