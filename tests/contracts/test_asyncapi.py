"""The AsyncAPI document: as committed, complete, and well-formed by AsyncAPI 3.0's own rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.addresses import PARTICIPANTS, exchanges, queues_of, work_queues
from contracts.catalog import CATALOG, name_of
from contracts.messages import Command
from infra.asyncapi import document

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"
DOCUMENT = document()


def test_the_committed_document_is_what_the_code_says_today() -> None:
    written = json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == written, "run `oaas contracts asyncapi > docs/asyncapi.json` and read the difference"


def test_the_document_is_the_same_each_time() -> None:
    assert json.dumps(document()) == json.dumps(DOCUMENT)


def test_every_reference_resolves() -> None:
    found = list(references(DOCUMENT))
    assert found
    for reference in found:
        resolve(reference)


def test_it_has_what_asyncapi_3_requires() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert all({"host", "protocol"} <= server.keys() for server in DOCUMENT["servers"].values())
    assert all(operation["action"] in {"send", "receive"} and "channel" in operation for operation in DOCUMENT["operations"].values())


def test_every_name_is_one_that_asyncapi_allows() -> None:
    names = [*DOCUMENT["channels"], *DOCUMENT["operations"], *DOCUMENT["components"]["messages"], *DOCUMENT["components"]["schemas"]]
    assert [name for name in names if not re.fullmatch(r"[\w.\-]+", name)] == []


def test_an_operations_messages_are_messages_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for part in (operation, operation.get("reply", operation)):
            assert part["messages"]
            assert all(message["$ref"].startswith(f"{part['channel']['$ref']}/messages/") for message in part["messages"])


def test_every_channel_says_how_it_is_bound_to_amqp() -> None:
    for channel in DOCUMENT["channels"].values():
        bound = channel["bindings"]["amqp"]
        if bound["is"] == "queue":
            assert bound["queue"]["name"] == channel["address"]
        else:
            assert exchanges()[bound["exchange"]["name"]] == bound["exchange"]["type"]


def test_every_message_of_the_catalog_is_sent_by_somebody_and_received_by_somebody() -> None:
    for action in ("send", "receive"):
        carried = {resolved(message) for one in DOCUMENT["operations"].values() if one["action"] == action for message in one["messages"]}
        assert carried == set(CATALOG)


def test_every_work_queue_is_received_from_by_its_service_alone() -> None:
    receiving = {name for name, one in DOCUMENT["operations"].items() if one["action"] == "receive"}
    wanted = {f"{service}.receive.{queue}" for service in (*PARTICIPANTS, "sagas", "ops") for queue in queues_of(service)}
    assert receiving == wanted
    assert len(receiving) == len(work_queues())


def test_every_command_names_all_of_its_answers() -> None:
    commands = [message for message in CATALOG.values() if issubclass(message, Command)]
    for command in commands:
        operation = DOCUMENT["operations"][f"sagas.send.{name_of(command)}.0"]
        answers = {resolved(message) for message in operation["reply"]["messages"]}
        assert answers == {*(name_of(reply) for reply in command.replies()), "sagas.StepFaulted.v1"}


def test_a_dead_letter_queue_may_hold_whatever_its_work_queue_took() -> None:
    for queue in work_queues():
        assert DOCUMENT["channels"][f"{queue}.dead"]["messages"] == DOCUMENT["channels"][queue]["messages"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def resolved(message: dict[str, str]) -> str:
    """The catalog name behind an operation's reference to a message of a channel."""
    through: str = resolve(message["$ref"])["$ref"]
    return str(resolve(through)["name"])
