"""Editing what a letter says: only its data, and only to what its contract takes. Pure.

The message keeps its id, its type and everything else of its envelope, so that whoever waits for its answer knows it for the same.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import from_json

from contracts.catalog import UnknownMessage, class_of
from infra.http.mishaps import field_error
from infra.http.problems import FieldError
from services.ops.desk.masking import MASK, SECRETS, unmasked

KEYS: Final = ("order_id", "tenant_id", "saga_id")
"""What a message is about. Who waits for its answer, and all that was done for it before, go by these."""
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One value of the data before and after; None where there was none."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Edited:
    """The whole envelope as it would be, and what is different about its data; no difference changes nothing."""

    body: str
    diff: tuple[Change, ...]


class NotMendable(Exception):
    """What the letter says cannot be edited at all; the message says why."""


class WrongData(ValueError):
    """The data is not what the message's contract takes; `errors` names each wrong field and how to mend it."""

    def __init__(self, type_: str, errors: list[FieldError]) -> None:
        super().__init__(f"{type_} takes no such data: " + "; ".join(f"{one['field']} {one['message']}" for one in errors))
        self.type = type_
        self.errors = errors


def data_of(body: str) -> Any:
    """The data of the envelope; raises NotMendable."""
    return _envelope(body)["data"]


def edit(body: str, data: Mapping[str, Any], original: str | None = None) -> Edited:
    """The envelope with this data; where a secret is still masked, what is stored stays. Raises NotMendable and WrongData.

    `body` is the envelope as it stands, `original` as it died.
    """
    envelope = _envelope(body)
    before = envelope["data"]
    after = unmasked(data, before)
    errors = [*_wrong(envelope["type"], before, after), *_masked(after), *_moved(envelope, _envelope(original or body)["data"], after)]
    if errors:
        raise WrongData(envelope["type"], errors)
    diff = tuple(differences(before, after))
    return Edited(json.dumps({**envelope, "data": after}, separators=(",", ":"), ensure_ascii=False) if diff else body, diff)


def differences(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Each value that differs, the deepest that tells; secrets stay masked."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            below = f"{path}.{name}" if path else name
            yield from _hidden(name, differences(before.get(name, _ABSENT), after.get(name, _ABSENT), below))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            one, other = (items[index] if index < len(items) else _ABSENT for items in (before, after))
            yield from differences(one, other, f"{path}[{index}]")
    elif not _same(before, after):
        yield Change(path or "data", None if before is _ABSENT else before, None if after is _ABSENT else after)


def as_json(diff: Iterable[Change]) -> str:
    """The differences as they are stored and answered: a list of path, before and after."""
    return json.dumps([asdict(change) for change in diff], ensure_ascii=False)


def _hidden(name: str, changes: Iterator[Change]) -> Iterator[Change]:
    for change in changes:
        yield change if name not in SECRETS else Change(change.path, change.before and MASK, change.after and MASK)


def _same(before: Any, after: Any) -> bool:
    # To Python 1 and True and 1.0 are equal, to a contract they are not.
    return type(before) is type(after) and before == after


def _envelope(body: str) -> dict[str, Any]:
    try:
        found = from_json(body)
    except ValueError as error:
        raise NotMendable(f"it is no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("type"), str) or "data" not in found:
        raise NotMendable("it is no envelope with a type and data")
    try:
        class_of(found["type"])
    except UnknownMessage as error:
        raise NotMendable(f"{error}, so nobody here can tell what it may say") from error
    return found


def _wrong(type_: str, before: Any, after: Mapping[str, Any]) -> list[FieldError]:
    """What the contract says to it. A field that it does not know may stay as it is: another release's, it would ignore it."""
    message = class_of(type_)
    known = before if isinstance(before, dict) else {}
    strange = {name for name in after if name not in message.model_fields and name in known and _same(known[name], after[name])}
    try:
        message.model_validate({name: value for name, value in after.items() if name not in strange})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # Of a list without its wrong items it is also said that it is too short: the items are what is to be mended.
        within = {one["loc"][:depth] for one in found for depth in range(len(one["loc"]))}
        return [field_error({**one, "loc": ("body", "data", *one["loc"])}) for one in found if one["loc"] not in within]
    return []


def _moved(envelope: Mapping[str, Any], original: Any, after: Mapping[str, Any]) -> Iterator[FieldError]:
    """An id that says what the message is about stays; one that was broken may become what the envelope says it is about."""
    known = original if isinstance(original, dict) else {}
    for name in KEYS:
        before, wanted = known.get(name, _ABSENT), after.get(name, _ABSENT)
        if before == wanted or (not _is_uuid(before) and name == "order_id" and wanted == envelope.get("subject")):
            continue
        if before is not _ABSENT or wanted is not _ABSENT:
            kept = before if _is_uuid(before) else envelope.get("subject")
            why = "what was done before, and whoever waits for the answer, go by it; a message about another one is another message"
            yield FieldError(field=f"data.{name}", message=f"must stay {kept}: {why}")


def _masked(after: Mapping[str, Any]) -> Iterator[FieldError]:
    for name in SECRETS & after.keys():
        if after[name] == MASK:
            yield FieldError(field=f"data.{name}", message="is only a mask, and there is nothing stored behind it: give a value")


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False
