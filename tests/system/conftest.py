"""A whole platform for the system tests: real servers, real processes, in a home of its own; started once for each group of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.dev.demo_client import clients
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import BRISK
from infra.dev.ports import free_port
from infra.dev.up import Platform, platform
from infra.settings import Settings
from infra.token import ensure_development_key

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".oaas" / "system" / os.environ.get("PYTEST_XDIST_WORKER", "")
SETTINGS = {**BRISK, "OAAS_DEADLINE_FACTOR": "10", "OAAS_JWKS": str(HOME / "keys" / "jwks.json")}
"""Long deadlines: on a busy machine a process takes its time to start, and that is no silence. Stories that want silence say so."""
STORY_MAX_S = 300
"""Bound of one story, seconds; the first one starts the platform, on a new machine with empty servers."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(STORY_MAX_S))


@pytest.fixture(scope="session")
def running() -> Iterator[Platform]:
    """The platform: its processes are those of `oaas up`."""
    ensure_development_key(HOME)
    with platform(HOME, SETTINGS, say=print, api_port=free_port()) as started:
        yield started


@pytest.fixture
async def stage(running: Platform) -> AsyncIterator[Stage]:
    """A stage with nobody on it yet. What it says is shown when a test fails; afterwards every worker runs as it should."""
    async with clients(running.api_url, Settings(home=HOME)) as made:
        set_up = Stage(running, made, print)
        try:
            yield set_up
        finally:
            await asyncio.shield(set_up.restore())
