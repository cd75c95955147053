"""What goes wrong with a message is told without what was in it: the text goes into logs, dead letters and histories."""

import json
from uuid import uuid4

from infra.frames import Unreadable, decode
from infra.letters import fault_of, headers_of

TOKEN = "tok_secret"
CARD = {"amount": 5, "token": TOKEN}


def unreadable(data: object, **changes: object) -> Unreadable:
    """An AuthorisePayment with this data and these attributes, which is none."""
    told = {"specversion": "1.0", "id": str(uuid4()), "source": "/sagas", "type": "payments.AuthorisePayment.v1", "subject": "x"}
    told |= {"time": "2026-11-23T12:00:00Z", "tenantid": str(uuid4()), "sagaid": str(uuid4())}
    [found] = decode(json.dumps([{**told, "data": data, **changes}]).encode())
    assert isinstance(found, Unreadable)
    return found


def test_an_error_names_the_field_and_not_the_card() -> None:
    wrong = {"without an order": CARD, "no order": {**CARD, "order_id": TOKEN}, "no token": {"order_id": str(uuid4()), "token": [TOKEN]}}
    for what, data in wrong.items():
        found = unreadable(data)
        assert "order_id" in str(found.error) or "token" in str(found.error), what
        headers = headers_of(found, found.error, "payments.commands.0", "payments", 1, uuid4())
        told = (str(found.error), repr(found.error), fault_of(found.error).error, *map(str, headers.values()))
        assert [text for text in told if TOKEN in text] == [], what


def test_neither_does_an_error_of_the_envelope() -> None:
    whole = {"order_id": str(uuid4()), **CARD}
    for found in (unreadable(whole, time=TOKEN), unreadable(whole, sequence=TOKEN)):
        assert TOKEN not in str(found.error)
