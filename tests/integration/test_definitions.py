"""The definitions file: it is what the code says, a node loads it when it boots, and the command prints it."""

import json
from pathlib import Path

import httpx
from typer.testing import CliRunner

from contracts.addresses import bindings, exchanges, queues
from contracts.policies import policies
from infra.cli.main import app
from infra.settings import Settings
from infra.topology import topology
from infra.topology.definitions import definitions

COMMITTED = Path(__file__).resolve().parents[2] / "infra/deploy/rabbitmq/definitions.json"


def test_the_committed_file_is_what_the_code_says() -> None:
    assert json.loads(COMMITTED.read_text()) == definitions(), f"run `oaas topology show > {COMMITTED.name}` in {COMMITTED.parent}"


def test_oaas_topology_show_prints_it() -> None:
    assert CliRunner().invoke(app, ["topology", "show"]).stdout == COMMITTED.read_text()


def test_it_names_everything_and_holds_no_users_and_no_limits_of_queues() -> None:
    found = definitions()
    assert "users" not in found
    assert {one["name"] for one in found["queues"]} == set(queues())
    assert {tuple(one["arguments"].items()) for one in found["queues"]} == {(("x-queue-type", "quorum"),)}
    assert {one["name"] for one in found["exchanges"]} == set(exchanges())
    assert {one["name"] for one in found["policies"]} == set(policies())
    assert len(found["bindings"]) == len(list(bindings()))


async def test_a_node_that_has_just_booted_has_all_of_it(settings: Settings) -> None:
    """The tests' node, in which nobody has declared anything under `/` unless it is there already."""
    async with httpx.AsyncClient(base_url=settings.rabbitmq_management_url) as client:
        vhosts = (await client.get("/api/vhosts")).raise_for_status().json()
    assert "/" in {vhost["name"] for vhost in vhosts}
    assert await topology.mismatches(settings) == []


def test_applying_says_what_it_does_and_then_that_nothing_is_left(settings: Settings) -> None:
    environment = {
        "OAAS_RABBITMQ_URL": settings.rabbitmq_url,
        "OAAS_RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url,
        "OAAS_HOME": "/nonexistent",
    }

    def apply(*words: str) -> tuple[int, dict[str, object]]:
        done = CliRunner().invoke(app, ["topology", "apply", "--json", *words], env=environment)
        return done.exit_code, json.loads(done.stdout)

    # The node may be older than this release.
    apply()
    with httpx.Client(base_url=settings.rabbitmq_management_url) as client:
        client.delete("/api/policies/%2F/retry.500.0").raise_for_status()
    code, would = apply("--dry-run")
    assert (code, would["dry_run"], len(would["done"])) == (0, True, 1)  # type: ignore[arg-type]  # a list of words
    assert apply() == (0, would | {"dry_run": False})
    assert apply() == (0, {"dry_run": False, "done": [], "left": [], "former": {}})
