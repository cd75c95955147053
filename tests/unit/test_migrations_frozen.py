"""A released migration never changes: databases that have run it would silently differ from new ones."""

import hashlib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.services import MODULES

ROOT = Path(__file__).resolve().parents[2]
RELEASED = Path(__file__).with_name("released_migrations.json")
MIGRATIONS = sorted(
    path for package in MODULES.values() for path in (ROOT / package.replace(".", "/") / "migrations/versions").glob("*.py")
)


def digest_of(path: Path) -> str:
    """Of the SQL that the migration executes, spacing aside."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    statements: list[str] = []
    # Whatever the migration executes goes into our list instead of a database.
    module.op = SimpleNamespace(execute=lambda statement: statements.append(" ".join(statement.split())))  # type: ignore[attr-defined]
    module.upgrade()
    assert statements, f"{path.name} executes nothing"
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()


def test_every_service_has_migrations() -> None:
    assert len(MIGRATIONS) >= len(MODULES)


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_released_migration_executes_what_it_did_when_it_was_released(path: Path) -> None:
    released = json.loads(RELEASED.read_text())
    name = str(path.relative_to(ROOT))
    now = digest_of(path)
    fix = f"write a new migration instead; a new one is added to {RELEASED.name} once it is released"
    assert released.get(name) == now, f"{name} changed ({now}): {fix}"
