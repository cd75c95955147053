"""A platform as it is started says of itself, to operators and to whoever probes it, that tenants are kept apart."""

import httpx

from infra.dev.up import Platform
from infra.services import MODULES
from infra.settings import Settings
from infra.token import token


async def test_the_api_tells_for_every_service_that_it_is_secure_and_readiness_depends_on_it(running: Platform) -> None:
    bearer = token(Settings(home=running.home), tenant=None, scope="ops", ttl="1h")["token"]
    async with httpx.AsyncClient(base_url=running.api_url, headers={"Authorization": f"Bearer {bearer}"}) as client:
        answered = await client.get("/v1/security")
        assert answered.status_code == 200, answered.text
        told, ready = answered.json(), (await client.get("/health/ready")).json()
    assert told["verdict"] == "SECURE", told
    assert {one["service"]: one["verdict"] for one in told["services"]} == dict.fromkeys(MODULES, "SECURE"), told
    assert {name: check["ok"] for name, check in ready["checks"].items() if name.endswith(" security")} == {
        f"{service} security": True for service in MODULES
    }
