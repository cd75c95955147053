"""The golden files pin how every message version is written. A file is added with its message and never changed afterwards.

A message that has new optional fields gets a second file, `<name>+<field>.json`, with one `+` for each field it ever got; the old file
stays, and must still be read.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import contracts
from contracts.catalog import CATALOG, UnknownMessage, class_of, name_of
from contracts.messages import Command, Event, Message, Question, Refusal, Reply, Report
from infra.frames import Unreadable, decode, encode, read_envelope
from tests.contracts.samples import SAMPLES, envelope

GOLDEN = Path(__file__).parent / "golden"
ABSTRACT = {Message, Command, Event, Question, Refusal, Reply, Report}


def golden(name: str) -> str:
    """How the message is written today: the file with the most fields."""
    newest = max((path.stem for path in GOLDEN.glob(f"{name}*.json") if path.stem.split("+")[0] == name), key=lambda stem: stem.count("+"))
    return (GOLDEN / f"{newest}.json").read_text(encoding="utf-8").rstrip("\n")


def subclasses(kind: type[Message]) -> Iterator[type[Message]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_message_class_is_in_the_catalog() -> None:
    modules = {f"contracts.{module.name}" for module in pkgutil.iter_modules(contracts.__path__)}
    for module in modules:
        importlib.import_module(module)
    # Command[StockReserved | OutOfStock] is a class of pydantic's making.
    ours = {one for one in subclasses(Message) if one.__module__ in modules and "[" not in one.__name__} - ABSTRACT
    assert ours == set(CATALOG.values())


def test_every_name_is_owner_message_version_and_names_one_class() -> None:
    for name, message in CATALOG.items():
        owner, title, version = name.split(".")
        assert owner in {"sagas", "tenants", "inventory", "orders", "payments", "ops"}
        assert message.__name__.startswith(title)
        assert version.removeprefix("v").isdigit()
        assert class_of(name) is message
        assert name_of(message) == name


def test_a_name_that_is_not_in_the_catalog_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownMessage, match="not in contracts/catalog"):
        class_of("inventory.ReserveStock.v99")


def test_every_catalog_entry_has_a_golden_file_and_the_other_way_round() -> None:
    assert {path.stem.split("+")[0] for path in GOLDEN.glob("*.json")} == set(CATALOG)
    assert set(SAMPLES) == set(CATALOG)


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_todays_classes_write_the_golden_file_byte_for_byte(name: str) -> None:
    assert type(SAMPLES[name]) is CATALOG[name]
    assert envelope(name).model_dump_json(exclude_none=True) == golden(name)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_golden_file_ever_written_is_still_read(path: Path) -> None:
    read = read_envelope(json.loads(path.read_text(encoding="utf-8")))
    assert type(read.data) is CATALOG[path.stem.split("+")[0]]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_a_golden_file_is_read_back_as_the_message_it_was(name: str) -> None:
    assert list(decode(encode([golden(name)]))) == [envelope(name)]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_the_next_releases_message_with_fields_unknown_here_is_read(name: str) -> None:
    told = json.loads(golden(name))
    told["nextattribute"] = "x"
    told["data"] = with_unknown_fields(told["data"])
    assert read_envelope(told) == envelope(name)


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_the_last_releases_message_without_optional_fields_is_read(name: str) -> None:
    told = json.loads(golden(name))
    for optional in ("sagaid", "causationid", "commandid", "expires", "sequence", "traceparent"):
        del told[optional]
    told["data"] = {key: value for key, value in told["data"].items() if CATALOG[name].model_fields[key].is_required()}
    read = read_envelope(told)
    assert read.sagaid is None
    assert type(read.data) is CATALOG[name]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_a_message_is_frozen_and_cannot_be_built_with_a_field_it_does_not_have(name: str) -> None:
    message = SAMPLES[name]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        CATALOG[name].model_validate({**message.model_dump(), "colour": "red"})
    with pytest.raises((ValidationError, ValueError)):
        message.colour = "red"  # type: ignore[attr-defined]  # that it cannot be set is the test


def test_every_command_declares_replies_that_are_in_the_catalog() -> None:
    commands = [message for message in CATALOG.values() if issubclass(message, Command)]
    assert commands
    for command in commands:
        assert command.replies()
        assert set(command.replies()) <= set(CATALOG.values())


def test_every_time_on_the_wire_is_utc_with_a_z() -> None:
    times = [value for name in CATALOG for value in texts(json.loads(golden(name))) if looks_like_a_time(value)]
    assert times
    assert all(value.endswith("Z") for value in times)


def test_one_unreadable_envelope_of_a_frame_takes_no_other_along() -> None:
    good = golden("orders.OrderApproved.v1")
    first, second, third = decode(encode([good, '{"id": "no envelope"}', good]))
    assert first == third == envelope("orders.OrderApproved.v1")
    assert isinstance(second, Unreadable)


def with_unknown_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{key: with_unknown_fields(item) for key, item in value.items()}, "next_release": {"a": [1]}}
    return [with_unknown_fields(item) for item in value] if isinstance(value, list) else value


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def looks_like_a_time(value: str) -> bool:
    try:
        return "T" in value and datetime.fromisoformat(value) is not None
    except ValueError:
        return False
