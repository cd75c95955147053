"""What a broker has, compared with contracts/addresses.py and policies.py: exchanges, queues, bindings, and what each queue obeys.

A queue obeys one policy, the highest that fits it, whoever set it; of the operator policies that fit the highest is laid over it; and
an argument that the queue was declared with comes before both. So it is not enough that our policies are there.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contracts import addresses, policies
from infra.topology.management import Management

MEND: Final = "oaas topology apply"
_APPLY_TO: Final = ("all", "queues", "quorum_queues")
_NOTHING: Final[Mapping[str, Any]] = {}
_QUEUE_COLUMNS: Final = "name,type,durable,arguments,effective_policy_definition,messages"


@dataclass(frozen=True)
class Difference:
    """Something that is not as it should be. `mend` is what to do about it."""

    what: str
    name: str
    wanted: str
    found: str
    mend: str = MEND

    def __str__(self) -> str:
        return f"{self.what} {self.name}: {self.found}, wanted {self.wanted}"


@dataclass(frozen=True)
class Live:
    """What the broker has, by name."""

    exchanges: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, Mapping[str, Any]]
    bindings: frozenset[addresses.Binding]
    policies: Mapping[str, Mapping[str, Any]]
    operator_policies: Mapping[str, Mapping[str, Any]]

    @property
    def shards(self) -> int:
        """How many shards have queues here."""
        return addresses.shards_among(self.queues)


async def look(management: Management) -> Live:
    """Everything of the virtual host, strangers' things included."""
    exchanges, queues, bindings, set_policies, operators = await asyncio.gather(
        management.get("exchanges", "name,type,durable,internal,auto_delete"),
        management.get("queues", _QUEUE_COLUMNS),
        management.get("bindings", "source,destination,destination_type,routing_key,arguments"),
        management.get("policies"),
        management.get("operator-policies"),
    )
    bound = (one for one in bindings if one["destination_type"] == "queue" and not one["arguments"])
    return Live(
        exchanges=_by_name(exchanges),
        queues=_by_name(queues),
        bindings=frozenset(addresses.Binding(one["source"], one["routing_key"], one["destination"]) for one in bound),
        policies=_by_name(set_policies),
        operator_policies=_by_name(operators),
    )


def differences(live: Live, shards: int) -> list[Difference]:
    """Everything that is not as contracts/addresses.py says of so many shards; things that it does not name are nobody's fault."""
    return [*_exchanges(live), *_queues(live, shards), *_bindings(live, shards), *_policies(live, shards)]


def late(live: Live, shards: int) -> list[Difference]:
    """Queues that do not say yet that they obey what is set: each says anew every few seconds. One that has said nothing is not late."""
    found = []
    wanted = policies.policies()
    for name in addresses.queues(shards):
        body = wanted[policies.policy_of(name)]
        says = live.queues.get(name, _NOTHING).get("effective_policy_definition")
        if says and dict(says) != body["definition"]:
            found.append(Difference("queue", name, *_apart(body["definition"], says)))
    return found


def former(live: Live, shards: int) -> dict[str, int]:
    """The work queues of shards beyond these, to which nobody with this number writes, and how many messages each and its letters have."""
    beyond = [queue for queue in live.queues if addresses.is_work_queue(queue) and queue not in addresses.work_queues(shards)]
    both = {queue: (queue, addresses.dead_letter_queue(queue)) for queue in sorted(beyond)}
    return {queue: sum(live.queues.get(name, _NOTHING).get("messages", 0) for name in names) for queue, names in both.items()}


def obsolete(live: Live) -> list[str]:
    """Names of policies that an earlier release of ours has set and this one does not have."""
    ours = policies.policies()
    return [name for name, body in live.policies.items() if name not in ours and policies.is_our_policy(name, body)]


def _exchanges(live: Live) -> Iterator[Difference]:
    for name, kind in addresses.exchanges().items():
        found = live.exchanges.get(name)
        if found is None:
            yield Difference("exchange", name, kind, "is missing")
        elif (found["type"], found["durable"], found["internal"], found["auto_delete"]) != (kind, True, False, False):
            yield Difference("exchange", name, f"{kind}, durable", f"is {_features(found)}", _replaced("exchange", name))


def _queues(live: Live, shards: int) -> Iterator[Difference]:
    for name in addresses.queues(shards):
        found = live.queues.get(name)
        if found is None:
            yield Difference("queue", name, "quorum", "is missing")
        elif found["type"] != "quorum" or not found["durable"]:
            yield Difference("queue", name, "quorum", f"is {found['type']}", _replaced("queue", name))
        elif surplus := {key: value for key, value in found["arguments"].items() if key != "x-queue-type"}:
            # An argument outdoes every policy.
            yield Difference("queue", name, "no arguments", f"was declared with {_named(surplus)}", _replaced("queue", name))


def _bindings(live: Live, shards: int) -> Iterator[Difference]:
    for one in addresses.bindings(shards):
        if one not in live.bindings:
            yield Difference("binding", f"{one.exchange} -{one.routing_key}-> {one.queue}", "a binding", "is missing")


def _policies(live: Live, shards: int) -> Iterator[Difference]:
    for name, ours in policies.policies().items():
        found = live.policies.get(name)
        if found is None:
            yield Difference("policy", name, _named(ours["definition"]), "is missing")
        elif any(found.get(part) != ours[part] for part in ours):
            yield Difference("policy", name, *_apart({**ours, **ours["definition"]}, {**found, **found["definition"]}))
    # They go as soon as all of this release's are there, so that no queue is ever without one.
    others = {name: policy for name, policy in live.policies.items() if name not in obsolete(live)}
    for queue in addresses.queues(shards):
        yield from _outdone(live, others, queue, policies.policy_of(queue))


def _outdone(live: Live, others: Mapping[str, Mapping[str, Any]], queue: str, own: str) -> Iterator[Difference]:
    """What strangers have set over ours."""
    ours = policies.policies()[own]
    for other, policy in others.items():
        # Among equals the broker picks any.
        if other != own and policy["priority"] >= ours["priority"] and _fits(policy, queue):
            mend = f"rabbitmqctl clear_policy '{other}', or give it a priority below {policies.POLICY_PRIORITY}"
            yield Difference("policy", queue, "to be the highest", f"is outranked by {other}", mend)
    fitting = [(policy["priority"], name) for name, policy in live.operator_policies.items() if _fits(policy, queue)]
    if fitting:
        _, name = max(fitting)
        obeyed = _laid_over(ours["definition"], live.operator_policies[name]["definition"])
        if obeyed != ours["definition"]:
            yield Difference("queue", queue, *_apart(ours["definition"], obeyed, name), f"rabbitmqctl clear_operator_policy '{name}'")


def _laid_over(ours: Mapping[str, Any], operators: Mapping[str, Any]) -> dict[str, Any]:
    # Of two numbers the broker obeys the smaller.
    both = {key: min(ours[key], value) if key in ours and isinstance(value, int) else value for key, value in operators.items()}
    return {**ours, **both}


def _fits(policy: Mapping[str, Any], queue: str) -> bool:
    return policy["apply-to"] in _APPLY_TO and re.search(policy["pattern"], queue) is not None


def _apart(wanted: Mapping[str, Any], found: Mapping[str, Any], by: str = "") -> tuple[str, str]:
    """What the one says, and what the other says instead, where they differ."""
    keys = sorted(key for key in {*wanted, *found} - {"name", "vhost", "definition"} if wanted.get(key) != found.get(key))
    says = ", ".join(f"{key} is {found.get(key, 'not set')}" for key in keys)
    return ", ".join(f"{wanted.get(key, 'not set')}" for key in keys), says + (f" by operator policy {by}" if by else "")


def _named(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items())


def _features(found: Mapping[str, Any]) -> str:
    others = [word for word in ("durable", "internal", "auto_delete") if found[word]]
    return ", ".join([found["type"], *others])


def _replaced(what: str, name: str) -> str:
    return f"rabbitmqctl delete_{what} {name} once it is empty, then {MEND}" if what == "queue" else f"delete exchange {name}, then {MEND}"


def _by_name(found: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {one["name"]: one for one in found}
