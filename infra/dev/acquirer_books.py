"""The books of the development acquirer: what it has held, taken and given back, and what it was asked, by key. SQLite in one file.

A key is one operation, done once: asked again it gets the same answer, and the repetition is counted. What may not be done (to take twice,
to take what was let go) is refused and noted as a violation, for tests to find. Whatever has been answered is in the file.
"""

import json
import sqlite3
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS payment (
        reference TEXT PRIMARY KEY, payment TEXT NOT NULL, amount INTEGER NOT NULL, token TEXT NOT NULL, state TEXT NOT NULL,
        metadata TEXT NOT NULL, decide_at TEXT, code TEXT, tell_at TEXT, told INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS operation (
        key TEXT PRIMARY KEY, operation TEXT NOT NULL, reference TEXT NOT NULL, status TEXT NOT NULL, code TEXT,
        duplicates INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS entry (reference TEXT NOT NULL, kind TEXT NOT NULL, amount INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS violation (what TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS failure (key TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""
_TELLS_MAX: Final = 20
"""Tries of one callback."""
_TELL_AGAIN: Final = timedelta(seconds=0.5)
_ALLOWED: Final = {"capture": "AUTHORISED", "refund": "CAPTURED"}
_MOVES: Final = {"capture": ("CAPTURED", "captured"), "refund": ("REFUNDED", "refunded"), "void": ("VOIDED", "voided")}


@dataclass(frozen=True)
class Order:
    """One operation as it was asked for."""

    key: str
    operation: str
    payment: str
    amount: int
    token: str
    reference: str
    metadata: dict[str, str]


class Books:
    """All methods may be called from any thread; each is one transaction."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_TABLES)

    def known(self, key: str, *, again: bool = False) -> dict[str, Any] | None:
        """What came of the operation with this key; `again` counts a repetition."""
        with self._lock, self._db:
            if again:
                self._db.execute("UPDATE operation SET duplicates = duplicates + 1 WHERE key = ?", (key,))
            row = self._db.execute("SELECT key, operation, status, reference, code FROM operation WHERE key = ?", (key,)).fetchone()
            return {name: value for name, value in dict(row).items() if value is not None} if row else None

    def token_of(self, reference: str) -> str:
        """The token that the payment was authorised with; empty if there is none."""
        with self._lock:
            row = self._db.execute("SELECT token FROM payment WHERE reference = ?", (reference,)).fetchone()
            return str(row["token"]) if row else ""

    def fails(self, key: str, times: int) -> bool:
        """Whether this try of the key is one of the first `times`."""
        with self._lock, self._db:
            self._db.execute("INSERT INTO failure VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET count = count + 1", (key,))
            return bool(self._db.execute("SELECT count <= ? FROM failure WHERE key = ?", (times, key)).fetchone()[0])

    def authorise(self, order: Order, *, refusal: str | None = None, pending: bool = False, decide_at: datetime | None = None) -> None:
        """Hold the amount, or refuse; if `pending`, at `decide_at` or, without one, never."""
        with self._lock, self._db:
            if self._is_known(order.key):
                return
            if self._db.execute("SELECT 1 FROM payment WHERE payment = ?", (order.payment,)).fetchone():
                self._violated(f"{order.payment} is authorised under a second key, {order.key}")
            reference, at = f"acq_{uuid4().hex}", decide_at.isoformat() if decide_at else None
            told = (order.payment, order.amount, order.token, "PENDING", json.dumps(order.metadata), at, refusal)
            self._db.execute("INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, 0)", (reference, *told))
            self._db.execute("INSERT INTO operation VALUES (?, 'authorise', ?, 'pending', NULL, 0)", (order.key, reference))
            if not pending:
                self._decide(reference)

    def move(self, order: Order, *, refusals: int = 0) -> None:
        """Capture, refund or void what the reference names; of each operation on it, refuse the first `refusals` keys."""
        with self._lock, self._db:
            if self._is_known(order.key):
                return
            row = self._db.execute("SELECT * FROM payment WHERE reference = ?", (order.reference,)).fetchone()
            code = self._objection(order, row)
            if code is None and self._refused(order) < refusals:
                code = "try_again_later"
            elif code is not None:
                self._violated(f"{order.operation} of {order.payment}: {code}")
            elif order.operation != "void" or row["state"] in ("AUTHORISED", "PENDING"):
                self._move(order, row)
            status = "done" if code is None else "refused"
            self._db.execute("INSERT INTO operation VALUES (?, ?, ?, ?, ?, 0)", (order.key, order.operation, order.reference, status, code))

    def decide_due(self, at: datetime) -> None:
        """Decide what was pending until now; a callback is due for each."""
        with self._lock, self._db:
            due = self._db.execute("SELECT reference FROM payment WHERE state = 'PENDING' AND decide_at <= ?", (at.isoformat(),)).fetchall()
            for row in due:
                self._decide(row["reference"])
                self._db.execute("UPDATE payment SET tell_at = ? WHERE reference = ?", (at.isoformat(), row["reference"]))

    def untold(self, at: datetime) -> list[dict[str, Any]]:
        """Callbacks to try now; each comes again after a pause unless it is `told`."""
        with self._lock, self._db:
            rows = self._db.execute(
                "SELECT * FROM payment WHERE tell_at <= ? AND told BETWEEN 0 AND ?", (at.isoformat(), _TELLS_MAX - 1)
            ).fetchall()
            again = (at + _TELL_AGAIN).isoformat()
            for row in rows:
                self._db.execute("UPDATE payment SET told = told + 1, tell_at = ? WHERE reference = ?", (again, row["reference"]))
            return [
                {"reference": row["reference"], "payment": row["payment"], "state": row["state"], "metadata": json.loads(row["metadata"])}
                for row in rows
            ]

    def told(self, reference: str) -> None:
        """The callback was taken."""
        with self._lock, self._db:
            self._db.execute("UPDATE payment SET tell_at = NULL WHERE reference = ?", (reference,))

    def payment(self, reference: str) -> dict[str, Any] | None:
        """One payment by the acquirer's reference."""
        return next((one for one in self.ledger()["payments"] if one["reference"] == reference), None)

    def ledger(self, payment: str | None = None) -> dict[str, Any]:
        """Every payment (or those of one of the merchant's ids) with its entries counted and added up, and all violations."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM payment WHERE payment = coalesce(?, payment) ORDER BY rowid", (payment,)).fetchall()
            return {
                "payments": [self._account(row) for row in rows],
                "violations": [row["what"] for row in self._db.execute("SELECT what FROM violation")],
            }

    def _account(self, row: sqlite3.Row) -> dict[str, Any]:
        sums = {
            kind: (count, pence)
            for kind, count, pence in self._db.execute(
                "SELECT kind, count(*), sum(amount) FROM entry WHERE reference = ? GROUP BY kind", (row["reference"],)
            )
        }
        count = {kind: sums.get(kind, (0, 0))[0] for kind in ("authorised", "captured", "voided", "refunded")}
        pence = {f"{kind}_pence": sums.get(kind, (0, 0))[1] for kind in count}
        duplicates = self._db.execute("SELECT sum(duplicates) FROM operation WHERE reference = ?", (row["reference"],)).fetchone()[0]
        told = {name: row[name] for name in ("payment", "reference", "state", "amount", "token")}
        return {
            **told,
            **count,
            **pence,
            "held_pence": pence["authorised_pence"] - pence["voided_pence"] - pence["captured_pence"],
            "taken_pence": pence["captured_pence"] - pence["refunded_pence"],
            "duplicates": duplicates or 0,
        }

    def _is_known(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM operation WHERE key = ?", (key,)).fetchone() is not None

    def _refused(self, order: Order) -> int:
        asked = "SELECT count(*) FROM operation WHERE reference = ? AND operation = ? AND status = 'refused'"
        return int(self._db.execute(asked, (order.reference, order.operation)).fetchone()[0])

    def _objection(self, order: Order, row: sqlite3.Row | None) -> str | None:
        if row is None:
            return "unknown_reference"
        wanted = _ALLOWED.get(order.operation)
        if order.amount != row["amount"]:
            return "wrong_amount"
        if (wanted is not None and row["state"] != wanted) or (wanted is None and row["state"] in ("CAPTURED", "REFUNDED")):
            return f"is_{row['state'].lower()}"
        return None

    def _move(self, order: Order, row: sqlite3.Row) -> None:
        state, kind = _MOVES[order.operation]
        self._db.execute("UPDATE payment SET state = ?, decide_at = NULL WHERE reference = ?", (state, order.reference))
        if row["state"] == "PENDING":
            # Nothing was held yet, and nothing will be.
            self._db.execute("UPDATE operation SET status = 'refused', code = 'voided' WHERE reference = ?", (order.reference,))
        else:
            self._db.execute("INSERT INTO entry VALUES (?, ?, ?)", (order.reference, kind, order.amount))

    def _decide(self, reference: str) -> None:
        row = self._db.execute("SELECT * FROM payment WHERE reference = ?", (reference,)).fetchone()
        state, status = ("AUTHORISED", "done") if row["code"] is None else ("REFUSED", "refused")
        self._db.execute("UPDATE payment SET state = ?, decide_at = NULL WHERE reference = ?", (state, reference))
        self._db.execute("UPDATE operation SET status = ?, code = ? WHERE reference = ?", (status, row["code"], reference))
        if state == "AUTHORISED":
            self._db.execute("INSERT INTO entry VALUES (?, 'authorised', ?)", (reference, row["amount"]))

    def _violated(self, what: str) -> None:
        self._db.execute("INSERT INTO violation VALUES (?)", (what,))
