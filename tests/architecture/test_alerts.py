"""What the alert rules ask for exists: every metric, label and state in them is one that a process of the platform shows."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

from infra.unscoped.due import Standing
from sagas.engine.instance import State
from sagas.metrics import SagaGauges
from services.ops.desk.metrics import LetterGauges
from services.ops.desk.model import State as LetterState

RULES: Final = Path(__file__).resolve().parents[2] / "infra/deploy/observability/alerts.yaml"
SHOWN_BY: Final = (
    "infra.backlog",
    "infra.consumer",
    "infra.ladder",
    "infra.parking",
    "infra.relay",
    "infra.sweeper",
    "sagas.engine.coordinator",
    "sagas.engine.deadlines",
    "sagas.metrics",
    "services.ops.desk.metrics",
    "services.ops.books.rounds",
    "services.payments.calling",
)
_METRIC: Final = re.compile(r"\boaas_[a-z_]+")
_STATE: Final = re.compile(r'state="([^"]*)"')


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert found
    return found


def shown() -> set[str]:
    """The name of every time series, and of every metric that has none yet."""
    for module in SHOWN_BY:
        import_module(module)
    families = list(REGISTRY.collect())
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


def unknown_in(rule: dict[str, Any]) -> Iterator[str]:
    """Whatever a rule's expression names that nothing shows."""
    yield from (metric for metric in _METRIC.findall(rule["expr"]) if metric not in shown())
    yield from (state for state in _STATE.findall(rule["expr"]) if state not in {*State, *LetterState})


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_metrics_and_states_that_exist(rule: dict[str, Any]) -> None:
    assert _METRIC.findall(rule["expr"])
    assert list(unknown_in(rule)) == []


@pytest.mark.parametrize("expression", ["oaas_sagas_lost > 0", 'oaas_sagas{state="LOST"} > 0', "oaas_envelopes_parked > 0"])
def test_a_rule_about_what_nothing_shows_is_seen(expression: str) -> None:
    assert list(unknown_in({"expr": expression})) != []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_urgent_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action"}
    # What a summary speaks of survives the expression's grouping.
    grouped = " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))
    assert all(label in grouped for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))


def test_open_sagas_are_shown_by_state_with_a_zero_for_what_is_not() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    gauges = SagaGauges()
    standing = [
        Standing("errand", 1, "PARKED", 3, noon.replace(hour=9), 2),
        Standing("errand", 2, "PARKED", 4, noon.replace(hour=10), 0),
        Standing("gone", 1, "RUNNING", 5, noon, 0),
    ]
    gauges.show(standing, [("errand", 1), ("errand", 2)], noon)
    lines = generate_latest(gauges).decode().splitlines()
    assert 'oaas_sagas{saga="errand",state="PARKED"} 7.0' in lines
    assert 'oaas_sagas{saga="errand",state="NEEDS_ATTENTION"} 0.0' in lines
    assert 'oaas_sagas_stuck{saga="errand"} 2.0' in lines
    assert 'oaas_sagas_progress_age_seconds{saga="errand",state="PARKED"} 10800.0' in lines
    assert 'oaas_sagas_without_definition{saga="errand",version="1"} 0.0' in lines
    assert 'oaas_sagas_without_definition{saga="gone",version="1"} 5.0' in lines


def test_a_process_that_cannot_count_shows_no_old_number() -> None:
    gauges = SagaGauges()
    gauges.show([], [("errand", 1)], datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert any(family.samples for family in gauges.collect())
    gauges.show_nothing()
    assert not any(family.samples for family in gauges.collect())


def test_open_letters_are_shown_by_queue_and_state_with_a_zero_for_what_is_not() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    gauges = LetterGauges()
    queue = "inventory.commands.0"
    gauges.show(
        [(queue, "DEAD", 3, noon.replace(hour=11)), (queue, "REPLAYING", 1, noon.replace(hour=10)), ("gone.0", "DEAD", 1, noon)], noon
    )
    lines = generate_latest(gauges).decode().splitlines()
    assert f'oaas_dead_letters{{queue="{queue}",state="DEAD"}} 3.0' in lines
    assert f'oaas_dead_letters{{queue="{queue}",state="REPLAYING"}} 1.0' in lines
    assert 'oaas_dead_letters{queue="gone.0",state="DEAD"} 1.0' in lines
    assert 'oaas_dead_letters{queue="orders.events.0",state="DEAD"} 0.0' in lines
    assert f'oaas_dead_letters_oldest_seconds{{queue="{queue}"}} 7200.0' in lines
    assert 'oaas_dead_letters_oldest_seconds{queue="orders.events.0"} 0.0' in lines
    gauges.show_nothing()
    assert not any(family.samples for family in gauges.collect())
