"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.ops.consumers import HANDLES
from services.ops.working import work

SERVICE: Final = Service(name="ops", handles=lambda _settings: HANDLES, background=work, operators="services.ops.ops_api")
