"""`oaas up` looks after its servers as it does after its processes."""

from pathlib import Path

from infra.dev.servers import start_servers
from infra.dev.up import restart_dead_servers
from infra.settings import Settings


def test_a_server_that_died_is_started_again_on_its_data_and_port(settings: Settings, tmp_path: Path) -> None:
    broker = {"OAAS_RABBITMQ_URL": settings.rabbitmq_url, "OAAS_RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url}
    said: list[str] = []
    servers = start_servers(tmp_path / "home", lambda _: None, broker)
    try:
        assert servers.postgres is not None
        restart_dead_servers(servers, said.append)
        assert said == []
        url = servers.postgres.url
        servers.postgres.kill()
        restart_dead_servers(servers, said.append)
        assert (servers.postgres.pid is not None, servers.postgres.url) == (True, url)
        assert said == ["PostgreSQL has died; starting it again on its data"]
    finally:
        servers.stop()
