"""Which build a process says that it runs."""

import asyncio
from contextlib import suppress

import pytest

from infra.build import build
from infra.errors import Misconfigured
from infra.http.serve import serve
from infra.settings import Settings
from infra.worker import Worker


@pytest.fixture(autouse=True)
def unknown() -> None:
    build.cache_clear()


def test_a_worker_knows_its_build_from_its_start_whatever_is_deployed_over_it_later() -> None:
    Worker([], Settings(rabbitmq_url="amqp://nowhere.invalid"))
    assert build.cache_info().currsize == 1


def test_an_api_process_knows_its_build_from_its_start() -> None:
    with suppress(Misconfigured):
        asyncio.run(serve([], Settings(rabbitmq_url="")))
    assert build.cache_info().currsize == 1
