"""What the rules find in our own schemas and is meant to be so: each place by its full name, each with its reason.

A place that changes in any way (another column, another role, another command) has another name, and is a finding again. A test demands
that every one of these is there.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from infra.services import MODULES

Key = tuple[str, str]
"""The id of a rule, and a place as the rule names it."""

_VERSIONS: Final = "which migrations have run: one row that is no tenant's; no role that a process works as has a grant on it"
_OWNER: Final = "for migrations by hand: whoever signs in as the migrator may become the owner; no process does"
_RELAY: Final = "the relay deletes what the broker has confirmed, whosever it is; its grants name tenant_id and id, so it sees no body"
_SWEEPER: Final = "the sweeper finds what is due in all tenants; its grants name keys and times, what they say is read inside the tenant"
_FORGETS: Final = "what is too old is forgotten in all tenants alike; the grants name only what tells its age, and DELETE"
_DUE: Final = "what is due next is looked for across tenants, in the order of time; no tenant's statement uses it"
_DESK: Final = "operators of the platform look across tenants, in their order; a tenant's own statements have an index of theirs"
_REPLAY: Final = "the platform's replay has letters of several tenants, and goes through them in its own order"
_FORGOTTEN_NEXT: Final = "what has been closed for long is forgotten in all tenants alike, the oldest first"
_NOTES: Final = "a migration works as the owner and notes at its end that it has run; no process works as the owner"
_ID: Final = "an operator gives an id and the tenant is what is looked for; ids are random, and made by the server"

# What the sweeper's policy on a table is for, beyond the tables that every service has.
_READ_BY_SWEEPER: Final = {
    "inventory.stock_hold": "reconciling finds out which tenants there are: the grant names tenant_id only",
    "orders.customer_order": "reconciling finds out which tenants there are, admission counts what is under way: no amounts, no ids",
    "tenants.tenant": "reconciling finds out which tenants there are: the grant names tenant_id only",
    "payments.payment": "payments whose time has come are found in all tenants; each is worked on inside its own",
    "sagas.saga": "timers, metrics and operators find sagas in all tenants; what they carry is read inside the tenant",
    "sagas.saga_event": "operators find a saga by a message or trace; the grants name these ids only",
    "sagas.unheard": "timers find sagas with unheard replies in all tenants; the reply itself is read inside the tenant",
    "ops.letter": "operators search dead letters of all tenants by what surrounds them; bodies are read inside the tenant",
    "ops.audit": "operators list who did what in all tenants; reasons and details are read inside the tenant",
}
# The same on tables from which it deletes as well.
_DELETED_BY_SWEEPER: Final = {
    "orders.idempotency": _FORGETS,
    "ops.saga": _FORGETS,
    "ops.question": _FORGETS,
    "ops.replay": "operators list replays of all tenants, and old ones are forgotten; reasons and filters are read inside the tenant",
    "ops.replay_item": "a replay of the platform goes through letters of several tenants: the grants name keys, states and times",
    "ops.replay_part": _FORGETS,
    "ops.finding": "findings are counted in all tenants, and old ones forgotten; what they say is read inside the tenant",
}

# Indexes that the platform's own work across tenants needs.
_INDEXES: Final = {
    "payment_due on payments.payment (due_at)": _DUE,
    "saga_wake on sagas.saga (wake_at)": _DUE,
    "saga_subject on sagas.saga (subject)": "operators give an order, and its tenant is what is looked for",
    "saga_for_people on sagas.saga (started_at, id)": _DESK,
    "saga_ended on sagas.saga (name, state, started_at, id)": _DESK,
    "saga_ended_id on sagas.saga (id)": _ID,
    "saga_event_found on sagas.saga_event (message_id, trace_id)": _ID,
    "letter_by_id on ops.letter (id)": _ID,
    "letter_message on ops.letter (message_id)": _ID,
    "letter_saga on ops.letter (saga_id)": _ID,
    "letter_newest on ops.letter (died_at, id)": _DESK,
    "letter_open on ops.letter (died_at, id)": _DESK,
    "letter_cause on ops.letter (fingerprint, died_at, id)": _DESK,
    "letter_closed on ops.letter (state, changed_at)": _FORGOTTEN_NEXT,
    "letter_depth on ops.letter (queue, state, first_died_at)": "the gauges count what waits on each queue, in all tenants together",
    "audit_at on ops.audit (at, id)": _DESK,
    "audit_acts on ops.audit (at, id)": _DESK,
    "audit_letter on ops.audit (letter_id, at, id)": _ID,
    "audit_replay on ops.audit (replay_id, at, id)": _REPLAY,
    "replay_newest on ops.replay (planned_at, id)": _DESK,
    "replay_open on ops.replay (state, planned_at)": "whoever executes replays looks for the next one in all tenants",
    "replay_item_state on ops.replay_item (replay_id, state, number)": _REPLAY,
    "replay_item_ended on ops.replay_item (replay_id, ended_at)": _REPLAY,
    "replay_item_begun on ops.replay_item (replay_id, sent_at)": _REPLAY,
    "replay_item_number on ops.replay_item (replay_id, number)": _REPLAY,
    "replay_item_sent on ops.replay_item (sent_at)": _DUE,
    "replay_part_replay on ops.replay_part (replay_id, tenant_id)": _REPLAY,
}


def _everywhere(service: str) -> Iterator[tuple[Key, str]]:
    yield ("no-tenant-column", f"table public.{service}_version"), _VERSIONS
    yield ("grant-elsewhere", f"DELETE, INSERT, SELECT, UPDATE on public.{service}_version to {service}_owner"), _NOTES
    yield ("role-member", f"role {service}_migrator is a member of {service}_owner"), _OWNER
    yield ("policy-true", f"policy relay on {service}.outbox for ALL to {service}_relay"), _RELAY
    yield ("policy-true", f"policy sweeper on {service}.outbox for ALL to {service}_sweeper"), _SWEEPER
    for column, index in (("due_at", "outbox_due"), ("created_at", "outbox_age")):
        yield ("index-not-by-tenant", f"index {index} on {service}.outbox ({column})"), _DUE
    for table in ("inbox", "suspect"):
        yield ("policy-true", f"policy sweeper on {service}.{table} for ALL to {service}_sweeper"), _FORGETS


def _of_single_tables() -> Iterator[tuple[Key, str]]:
    for command, tables in (("SELECT", _READ_BY_SWEEPER), ("ALL", _DELETED_BY_SWEEPER)):
        for table, reason in tables.items():
            yield ("policy-true", f"policy sweeper on {table} for {command} to {table.split('.')[0]}_sweeper"), reason
    # Its tenants are not told of each other's: no tenant chooses the id of a replay.
    yield ("unique-by-id", "index replay_id on ops.replay (id)"), _ID
    for index, reason in _INDEXES.items():
        yield ("index-not-by-tenant", f"index {index}"), reason


DELIBERATE: Final[Mapping[Key, str]] = {
    **{key: reason for service in MODULES for key, reason in _everywhere(service)},
    **dict(_of_single_tables()),
}
