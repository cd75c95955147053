"""The AsyncAPI 3.0 document of everything on the wire, generated from contracts/ and nothing else.

An exchange with one routing key is a channel that somebody sends to; a queue is a channel that somebody receives from. The committed
copy is docs/asyncapi.json; a test compares it, so a contract never changes unseen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from contracts import addresses
from contracts.catalog import CATALOG, name_of, owner_of
from contracts.messages import Command, Envelope, Event, Message, Question, StepFaulted

_AMQP_BINDING: Final = {"bindingVersion": "0.3.0"}
_ABOUT: Final = """\
Messages travel in frames: the body of one AMQP message is a JSON array of one or more CloudEvents 1.0 \
(content type application/cloudevents-batch+json), counted by its header x-envelopes; messages of one destination may share a frame. \
Delivery is at least once: a reader remembers (tenantid, id). \
Readers ignore fields they do not know; contracts grow by optional fields only.
"""

Channels = dict[str, tuple[addresses.Address, list[type[Message]]]]


def document() -> dict[str, Any]:
    """The whole document, the same for the same contracts."""
    channels = _channels()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "oaas messages", "version": "1", "description": _ABOUT, "license": {"name": "MIT"}},
        "defaultContentType": "application/cloudevents-batch+json",
        "servers": {"rabbitmq": {"host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1"}},
        "channels": {
            **{name: _exchange_channel(address, messages) for name, (address, messages) in sorted(channels.items())},
            **{queue: _queue_channel(queue, messages) for queue, messages in sorted(_by_queue(channels).items())},
        },
        "operations": {**_sending(channels), **_receiving(_by_queue(channels))},
        "components": {"messages": {name: _message(name, CATALOG[name]) for name in sorted(CATALOG)}, "schemas": _schemas()},
    }


def _writers(message: type[Message]) -> tuple[str, ...]:
    if issubclass(message, Command):
        return (addresses.COORDINATOR,)
    if issubclass(message, Event):
        return addresses.writers_of(message)
    # Any participant may have to give a command up.
    return addresses.PARTICIPANTS if message is StepFaulted else (owner_of(message),)


def _channels() -> Channels:
    """Every exchange and routing key that anything is published to, with what is."""
    found: Channels = {}
    for shard in range(addresses.SHARDS):
        for name in sorted(CATALOG):
            for address in _addresses(CATALOG[name], shard):
                found.setdefault(_channel(address), (address, []))[1].append(CATALOG[name])
    return found


def _addresses(message: type[Message], shard: int) -> list[addresses.Address]:
    if issubclass(message, Question):
        return [addresses.replay_address(queue) for queue in addresses.work_queues(addresses.SHARDS)]
    return [addresses.address_in(shard, message, writer) for writer in _writers(message)]


def _by_queue(channels: Channels) -> dict[str, list[type[Message]]]:
    """Every work and dead-letter queue with what may arrive on it."""
    found: dict[str, list[type[Message]]] = {}
    for binding in addresses.bindings(addresses.SHARDS):
        channel = _channel(addresses.Address(binding.exchange, binding.routing_key))
        # A dead-letter queue takes whatever its work queue took; bindings() names the work queues first.
        arriving = channels[channel][1] if channel in channels else found.get(binding.routing_key, [])
        known = found.setdefault(binding.queue, [])
        known.extend(message for message in arriving if message not in known)
    return found


def _channel(address: addresses.Address) -> str:
    return f"{address.exchange}-{address.routing_key}"


def _exchange_channel(address: addresses.Address, messages: Iterable[type[Message]]) -> dict[str, Any]:
    exchange = {
        "name": address.exchange,
        "type": addresses.exchanges()[address.exchange],
        "durable": True,
        "autoDelete": False,
        "vhost": "/",
    }
    return {
        "address": address.routing_key,
        "messages": _messages(messages),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, **_AMQP_BINDING}},
    }


def _queue_channel(queue: str, messages: Iterable[type[Message]]) -> dict[str, Any]:
    declared = {"name": queue, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    return {
        "address": queue,
        "messages": _messages(messages),
        "bindings": {"amqp": {"is": "queue", "queue": declared, **_AMQP_BINDING}},
    }


def _messages(messages: Iterable[type[Message]]) -> dict[str, Any]:
    return {name: _ref("components", "messages", name) for name in sorted(map(name_of, messages))}


def _sending(channels: Channels) -> dict[str, Any]:
    """One operation per message and writer; a command's names every answer it can get."""
    found = {}
    for channel, (address, messages) in sorted(channels.items()):
        for message in messages:
            is_question = address.exchange == addresses.REPLAYS
            writer = addresses.DESK if is_question else address.exchange.split(".", 1)[0]
            operation = _operation("send", channel, [message])
            operation["bindings"] = {"amqp": {"deliveryMode": 2, "mandatory": True, **_AMQP_BINDING}}
            if issubclass(message, Command):
                operation["reply"] = _reply(message, address)
            where = address.routing_key if is_question else address.routing_key.rsplit(".", 1)[-1]
            found[f"{writer}.send.{name_of(message)}.{where}"] = operation
    return found


def _reply(command: type[Command[Any]], asked: addresses.Address) -> dict[str, Any]:
    shard = asked.routing_key.rsplit(".", 1)[-1]
    channel = f"{owner_of(command)}.replies-{addresses.COORDINATOR}.replies.{shard}"
    replies: tuple[type[Message], ...] = (*command.replies(), StepFaulted)
    answers = sorted(map(name_of, replies))
    return {"channel": _ref("channels", channel), "messages": [_ref("channels", channel, "messages", name) for name in answers]}


def _receiving(queues: Mapping[str, Sequence[type[Message]]]) -> dict[str, Any]:
    found = {}
    for service in (*addresses.PARTICIPANTS, addresses.COORDINATOR, addresses.DESK):
        for queue in addresses.queues_of(service, addresses.SHARDS):
            operation = _operation("receive", queue, queues[queue])
            operation["bindings"] = {"amqp": {"ack": True, **_AMQP_BINDING}}
            found[f"{service}.receive.{queue}"] = operation
    return found


def _operation(action: str, channel: str, messages: Iterable[type[Message]]) -> dict[str, Any]:
    names = sorted(map(name_of, messages))
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", name) for name in names],
    }


def _message(name: str, message: type[Message]) -> dict[str, Any]:
    kind = "command" if issubclass(message, Command) else "event" if issubclass(message, Event) else "reply"
    told = {"type": "object", "properties": {"type": {"const": name}, "data": _ref("components", "schemas", message.__name__)}}
    counted = {"type": "object", "properties": {"x-envelopes": {"type": "integer", "minimum": 1}}, "required": ["x-envelopes"]}
    return {
        "name": name,
        "title": message.__name__,
        "summary": (message.__doc__ or "").strip(),
        "tags": [{"name": kind}],
        "contentType": "application/cloudevents-batch+json",
        "headers": counted,
        "payload": {"allOf": [_ref("components", "schemas", "CloudEvent"), told]},
    }


def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(CATALOG[name], "serialization") for name in sorted(CATALOG)], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    envelope = Envelope.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    envelope.pop("$defs", None)
    envelope["properties"]["specversion"] = {"const": "1.0"}
    envelope["properties"]["data"] = {"type": "object"}
    schemas["CloudEvent"] = {**envelope, "title": "CloudEvent", "required": sorted({*envelope["required"], "specversion"})}
    # Only whoever builds a message is held to its fields; whoever receives one ignores those it does not know.
    for schema in schemas.values():
        schema.pop("additionalProperties", None)
    return dict(sorted(schemas.items()))


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}
