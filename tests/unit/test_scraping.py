"""A worker's metrics over HTTP."""

import socket
import urllib.request

import pytest
from prometheus_client import Counter

from infra.dev.ports import LOOPBACK, free_port
from infra.errors import Misconfigured
from infra.scraping import scraped
from infra.settings import Settings

_SEEN = Counter("oaas_test_scrapes_total", "Of this test")


def test_what_a_process_counts_can_be_scraped_while_it_runs_and_not_afterwards() -> None:
    port = free_port()
    _SEEN.inc()
    with scraped(Settings(metrics_port=port)), urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        assert b"oaas_test_scrapes_total 1.0" in answer.read()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))


def test_without_a_port_nothing_listens() -> None:
    with scraped(Settings()):
        assert Settings().metrics_port == 0


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"OAAS_METRICS_PORT {port}"), scraped(Settings(metrics_port=port)):
            pass
