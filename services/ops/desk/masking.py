"""Hides, in what operators see, the one secret that messages carry: a card's token. The stored letter keeps it, to be replayed with it."""

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from contracts.catalog import CATALOG
from contracts.values import PaymentToken

MASK: Final = "(hidden)"
"""What is shown instead. Whoever sends it back in an edit means what was there."""


def masked(value: Any) -> Any:
    """The same JSON value with every secret field hidden, however deep and in whatever message it is."""
    if isinstance(value, Mapping):
        return {name: MASK if name in SECRETS and inner is not None else masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return value


def unmasked(value: Any, original: Any) -> Any:
    """The same JSON value with every mask replaced by what the original has in its place."""
    if isinstance(value, Mapping) and isinstance(original, Mapping):
        return {
            name: original[name] if name in SECRETS and inner == MASK and name in original else unmasked(inner, original.get(name))
            for name, inner in value.items()
        }
    if isinstance(value, list) and isinstance(original, list):
        return [unmasked(inner, original[number] if number < len(original) else None) for number, inner in enumerate(value)]
    return value


def masked_diff(changes: Any) -> Any:
    """What an edit changed, `[{path, before, after}]`, with the values of secret fields hidden."""
    if not isinstance(changes, list):
        return masked(changes)
    return [_masked_change(change) for change in changes]


def masked_text(text: str) -> str:
    """The same for text that is no JSON, or not any more: whatever looks like a secret field with its value."""
    return _FIELD.sub(lambda found: f"{found[1]}{MASK}", text)


def masked_words(value: Any) -> Any:
    """The same JSON value as `masked` has it, with each text in it as `masked_text` has it."""
    if isinstance(value, Mapping):
        return {name: MASK if name in SECRETS and inner is not None else masked_words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked_words(inner) for inner in value]
    return masked_text(value) if isinstance(value, str) else value


def _masked_change(change: Any) -> Any:
    if isinstance(change, Mapping) and _LAST.sub("", str(change.get("path", ""))).rpartition(".")[2] in SECRETS:
        return {name: inner if name == "path" or inner is None else MASK for name, inner in change.items()}
    return masked(change)


def _secret_fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    if model in seen:
        return
    seen.add(model)
    for name, kind in typing.get_type_hints(model, include_extras=True).items():
        for part in _parts(kind):
            if part == PaymentToken:
                yield name
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from _secret_fields(part, seen)


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    if kind != PaymentToken:
        for inner in typing.get_args(kind):
            yield from _parts(inner)


SECRETS: Final = frozenset(name for message in CATALOG.values() for name in _secret_fields(message, set()))
"""The names of all fields, in any contract, that hold a PaymentToken."""
_LAST: Final = re.compile(r"(?:\[[0-9]+\])+$")
_VALUE: Final = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s,}\]]+)"""
_FIELD: Final = re.compile(rf"""(["'](?:{"|".join(sorted(SECRETS))})\\*["']\s*:\s*){_VALUE}""")
