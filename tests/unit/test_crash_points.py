"""Where a process can be made to die: the points, and by which messages they are told apart."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from contracts.addresses import Address, address_of, dead_letter_address, replay_address, retry_address
from contracts.inventory import ReleaseStock, StockReleased
from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.values import TenantId
from infra.clock import now
from infra.crash import KINDS, NoSuchPoint, arm, crash_point, disarm
from infra.outbox import Outgoing

TENANT = TenantId(uuid4())
COMMANDS, REPLIES, EVENTS = (
    address_of(message, TENANT, writer)
    for message, writer in ((ReleaseStock, "sagas"), (StockReleased, "inventory"), (OrderCompleted, "orders"))
)


class Died(BaseException):
    """Instead of the process."""


@pytest.fixture(autouse=True)
def deaths(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def die(_process: int, number: int) -> None:
        assert number == signal.SIGKILL
        raise Died

    monkeypatch.setattr(os, "kill", die)
    yield
    disarm()


def sent(address: Address) -> Outgoing:
    return Outgoing(TENANT, str(uuid4()), address, "{}")


def dies(service: str, point: str, *carried: Envelope | Outgoing) -> bool:
    try:
        crash_point(service, point, carried)
    except Died:
        return True
    return False


def test_only_the_chosen_point_of_the_chosen_service_kills() -> None:
    assert not dies("sagas", "commit")
    arm("sagas", "commit")
    assert not dies("sagas", "committed")
    assert not dies("orders", "commit")
    assert dies("sagas", "commit")
    disarm()
    assert not dies("sagas", "commit")


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("command", COMMANDS),
        ("reply", REPLIES),
        ("event", EVENTS),
        ("command", retry_address("inventory.commands.0", 1, 0)),
        ("reply", dead_letter_address("sagas.replies.0")),
        ("event", replay_address("tenants.events.0")),
    ],
    ids=str,
)
def test_what_is_sent_is_told_by_where_it_goes(kind: str, address: Address) -> None:
    for other in KINDS:
        arm("sagas", "publish", other)
        assert dies("sagas", "publish", sent(address)) == (other == kind)


def test_a_kind_is_met_if_one_of_the_messages_is_of_it_and_counted_once_for_all_of_them() -> None:
    arm("sagas", "outbox", "command", 2)
    assert not dies("sagas", "outbox", sent(EVENTS))
    assert not dies("sagas", "outbox", sent(EVENTS), sent(COMMANDS), sent(COMMANDS))
    assert not dies("sagas", "outbox")
    assert dies("sagas", "outbox", sent(COMMANDS))


def test_what_is_received_is_told_by_what_it_is() -> None:
    command = Envelope(id=uuid4(), source="/sagas", type="x", subject="x", time=now(), tenantid=TENANT, data=ReleaseStock(order_id=uuid4()))
    arm("inventory", "inbox", "command")
    assert dies("inventory", "inbox", command)
    arm("inventory", "inbox", "event")
    assert not dies("inventory", "inbox", command)


@pytest.mark.parametrize(("point", "kind", "nth"), [("nowhere", None, 1), ("commit", "commands", 1), ("commit", None, 0)])
def test_what_is_no_point_is_refused(point: str, kind: str | None, nth: int) -> None:
    with pytest.raises(NoSuchPoint):
        arm("sagas", point, kind, nth)


@pytest.mark.parametrize(("told", "times"), [("a:commit", 1), ("a:commit:reply", 1), ("a:commit:reply:3", 3)])
def test_the_environment_chooses_too(told: str, times: int) -> None:
    script = (
        "from infra.crash import crash_point; from infra.outbox import Outgoing; from contracts.addresses import Address\n"
        "for _ in range(9): crash_point('a', 'commit', [Outgoing(None, '', Address('a.replies', ''), '')]); print('alive', flush=True)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "OAAS_CRASH_AT": told}, capture_output=True, text=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert run.stdout.count("alive") == times - 1


@pytest.mark.parametrize("told", ["a:nowhere", "a", "a:commit:reply:x", "a:commit:nothing"])
def test_a_mistyped_environment_is_no_process_that_never_dies(told: str) -> None:
    command = [sys.executable, "-c", "import infra.crash"]
    run = subprocess.run(command, env={**os.environ, "OAAS_CRASH_AT": told}, capture_output=True, text=True, check=False)
    assert "NoSuchPoint" in run.stderr
