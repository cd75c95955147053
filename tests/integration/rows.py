"""A row of every table of every service, so that what is said of all tables can be tried on each."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from contracts.values import TenantId

Row = dict[str, Any]
AT: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)

_LEASE: Final = ("lease_holder", "lease_until")
_TIMES: Final = ("started_at", "changed_at", "progressed_at", "stuck_at", "wake_at")
_LETTER: Final = (
    *("tenant_id", "id", "queue", "service", "type", "message_id", "saga_id", "subject", "trace_id", "state", "fingerprint"),
    *("exception_type", "build", "attempts", "deaths", "replays_in_vain", "is_native", "is_readable", "sent_at", "first_died_at"),
    *("died_at", "changed_at", "revision", "replay_id"),
)
STANDING: Final = {
    # Which tenants there are: their books are compared inside each.
    "inventory.stock_hold": ("tenant_id",),
    "orders.customer_order": ("tenant_id", "status", "acceptance", "paid_by_card", "created_at"),
    "tenants.tenant": ("tenant_id",),
    "ops.audit": ("tenant_id", "id", "at", "actor", "verb", "replay_id", "letter_id", "outcome", "is_copy"),
    "ops.finding": ("tenant_id", "id", "kind", "first_seen", "gone_at", "accepted_at"),
    "ops.letter": _LETTER,
    "ops.question": ("asked_at",),
    "ops.replay": ("tenant_id", "id", "state", "actor", "planned_at", "expires_at", "started_at", "ended_at", *_LEASE),
    "ops.replay_item": ("tenant_id", "replay_id", "letter_id", "number", "queue", "state", "sends", "sent_at", "ended_at"),
    "ops.replay_part": ("tenant_id", "replay_id", "planned_at"),
    "ops.saga": ("state", "at"),
    "orders.idempotency": ("created_at",),
    "payments.payment": ("tenant_id", "order_id", "due_at"),
    "sagas.saga": ("tenant_id", "id", "name", "version", "subject", "state", "revision", "step", "fingerprint", *_TIMES),
    "sagas.saga_event": ("tenant_id", "saga_id", "message_id", "trace_id"),
    "sagas.unheard": ("tenant_id", "saga_id", "kept_at"),
}
"""What the sweepers' roles read beside outboxes: what is due, and where things stand, so that operators find them. Never content."""


def rows_of(tenant_id: TenantId, number: int = 1) -> dict[str, Row]:
    """Table -> row, a table after those it refers to. Keys of different tenants and numbers differ."""

    def id_of(what: str) -> UUID:
        return uuid5(tenant_id, f"{what} {number}")

    sku, month = f"SKU-{id_of('sku')}", f"{2000 + id_of('month').int % 1000}-{number:02}"
    order = {"order_id": id_of("order")}
    shop = {"shop_id": id_of("shop")}
    details = {"name": "x", "price_pence": 1, "vat_rate": "ZERO", "allergen_mask": 0}
    product = {"sku": sku, "version": 1, **details}
    dated = {"created_at": AT, "changed_at": AT}
    amounts = {"total_pence": 1, "vat_pence": 0}
    month_used = {"orders_held": 0, "orders_settled": 0, "pence_held": 0, "pence_settled": 0, "changed_at": AT}
    saga = {"name": "x", "version": 1, "subject": "x", "state": "RUNNING", "revision": 1, "started_by": "x", "instance": "{}", "events": 1}
    event = {"number": 1, "kind": "STARTED", "detail": "x", "at": AT}
    payment = {"wanted": "NOTHING", "actual": "NONE", "attempts": 0, "refusals": 0, "revision": 0}
    own: dict[str, Row] = {
        "inventory.shop": {**shop, "name": "x", "created_at": AT},
        "inventory.product": {**product, "ingredients": [], **dated},
        "inventory.stock": {**shop, "sku": sku, "available": 1, "held": 0, "consumed": 0, "received": 1, "changed_at": AT},
        "inventory.stock_hold": {**order, "step": "x", "state": "HELD", **shop, "reservation_id": id_of("hold"), **dated},
        "inventory.stock_hold_line": {**order, "step": "x", "sku": sku, "quantity": 1},
        "orders.customer_order": {**order, **shop, "status": "PENDING", **amounts, "revision": 1, **dated},
        "orders.order_line": {**order, "position": 0, "sku": sku, "name": "x", "quantity": 1, **amounts}
        | {"unit_price_pence": 1, "vat_rate": "ZERO"},
        "orders.shop": {**shop, "name": "x"},
        "orders.product": product,
        "orders.idempotency": {"key": str(id_of("key")), "fingerprint": "x" * 64, **order, "answer": "{}", "created_at": AT},
        "orders.unanswered": {"command_id": id_of("command"), "type": "x", "subject": "x", "asked_at": AT},
        "payments.payment": {**order, "payment_id": id_of("payment"), **payment, **dated},
        "payments.unanswered": {"command_id": id_of("command"), "type": "x", "subject": "x", "asked_at": AT},
        "sagas.saga": {"id": id_of("saga"), **saga, "started_at": AT, "changed_at": AT, "progressed_at": AT},
        "sagas.saga_event": {"saga_id": id_of("saga"), **event},
        "sagas.unheard": {"saga_id": id_of("saga"), "message_id": id_of("reply"), "envelope": "{}", "kept_at": AT},
        "sagas.operator_audit": {"id": id_of("audit"), "saga_id": id_of("saga"), "at": AT, "actor": "x", "verb": "retry"}
        | {"reason": "x", "outcome": "DONE", "detail": ""},
        "tenants.tenant": {"name": "x", "status": "ACTIVE", "orders_per_month": 1, "spending_limit_pence": 1, **dated},
        "tenants.quota": {"month": month, **month_used},
        "tenants.quota_hold": {**order, "step": "x", "state": "HELD", "month": month, "pence": 1, **dated},
        "tenants.financial_transactions": {"id": id_of("entry"), **order, "kind": "CHARGE", "vat_rate": "ZERO", "amount_pence": 1}
        | {"vat_pence": 0, "month": month, "reference": "x", "entered_at": AT},
    }
    own |= _desk(id_of)
    for service in ("inventory", "ops", "orders", "payments", "sagas", "tenants"):
        own |= _messages(service, id_of("message"))
    return {table: {"tenant_id": tenant_id, **row} for table, row in own.items()}


def _desk(id_of: Callable[[str], UUID]) -> dict[str, Row]:
    """Those of the operators' desk."""
    letter, replay = {"letter_id": id_of("letter")}, {"replay_id": id_of("replay")}
    texts = dict.fromkeys(("service", "type", "subject", "exception_type", "stack"), "x")
    died = {"attempts": 1, "fingerprint": "x", "error": "x", "build": "x"}
    return {
        "ops.letter": {"id": id_of("letter"), "queue": "x", **texts, **died, "state": "DEAD", "deaths": 1, "is_native": False}
        | {"is_readable": True, "first_died_at": AT, "died_at": AT, "changed_at": AT, "form": "ENVELOPE", "body": "{}", "headers": "{}"},
        "ops.death": {"id": id_of("death"), **letter, "at": AT, **died},
        "ops.letter_revision": {**letter, "revision": 1, "body": "{}", "actor": "x", "reason": "x", "at": AT, "diff": "[]"},
        "ops.saga": {"id": id_of("saga"), "name": "x", "version": 1, "subject": "x", "state": "PARKED", "sequence": 1, "at": AT},
        "ops.audit": {"id": id_of("audit"), "at": AT, "actor": "x", "verb": "x", "reason": "x", "outcome": "DONE", "detail": ""},
        "ops.replay": {"id": id_of("replay"), "state": "PLANNED", "actor": "x", "reason": "x", "filter": "{}", "includes_ended": False}
        | {"total": 1, "summary": "{}", "planned_at": AT, "expires_at": AT, "rate": 1, "stop_above_percent": 1}
        | {"is_trusted": False, "detail": ""},
        "ops.replay_item": {**replay, **letter, "number": 1, "queue": "x", "state": "WAITING", "revision": 0, "deaths": 1, "detail": ""},
        "ops.replay_part": {**replay, "total": 1, "planned_by": "x", "planned_at": AT, "reason": "x"},
        "ops.question": {"id": id_of("question"), **letter, "queue": "x", "asked_at": AT},
        "ops.finding": {"id": id_of("finding"), "kind": "x", "key": "x", "what": "x", "command": "x"}
        | {"since": AT, "first_seen": AT, "seen_at": AT},
    }


def insert(table: str, row: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The statement and its arguments."""
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values())


def _messages(service: str, id: UUID) -> dict[str, Row]:
    return {
        # Due in the far future: no sweeper takes it for a message that was lost.
        f"{service}.outbox": {
            "id": id,
            "exchange": "x",
            "routing_key": "x",
            "body": "{}",
            "created_at": AT,
            "due_at": AT.replace(year=2999),
        },
        f"{service}.inbox": {"handler": "x", "message_id": id, "received_at": AT},
        f"{service}.suspect": {"message_id": id, "deaths": 1, "marked_at": AT},
    }
