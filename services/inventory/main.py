"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.inventory.consumers import HANDLES

SERVICE: Final = Service(name="inventory", handles=lambda _settings: HANDLES, api="services.inventory.api")
