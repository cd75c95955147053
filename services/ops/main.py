"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.ops.consumers import HANDLES

SERVICE: Final = Service(name="ops", handles=lambda _settings: HANDLES)
