"""The services there are, by module name only: plumbing imports none of them until a process is told to run one."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from infra.service import Service, UnknownService

MODULES: Final[Mapping[str, str]] = {
    "tenants": "services.tenants",
    "inventory": "services.inventory",
    "orders": "services.orders",
    "payments": "services.payments",
    "sagas": "sagas",
    "ops": "services.ops",
}


def require_known(names: Sequence[str]) -> list[str]:
    """These names, or those of all services if there are none; raises UnknownService."""
    for name in names:
        if name not in MODULES:
            raise UnknownService(name, list(MODULES))
    return list(names or MODULES)


def load(names: Sequence[str]) -> list[Service]:
    """These services, or all of them if none is named; raises UnknownService."""
    found = [import_module(f"{MODULES[name]}.main").SERVICE for name in require_known(names)]
    assert all(isinstance(service, Service) for service in found)
    return found


def migrations_of(name: str) -> str:
    """The package in which a service's migrations lie."""
    return f"{MODULES[name]}.migrations"
