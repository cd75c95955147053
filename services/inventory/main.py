"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.inventory.api import router
from services.inventory.consumers import HANDLES

SERVICE: Final = Service(name="inventory", handles=lambda _settings: HANDLES, router=router)
