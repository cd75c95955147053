"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.tenants.consumers import HANDLES

SERVICE: Final = Service(name="tenants", handles=lambda _settings: HANDLES, api="services.tenants.api")
