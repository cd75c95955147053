"""The service as the process that runs it sees it."""

from typing import Final

from infra.service import Service
from services.payments.calling import call_the_provider
from services.payments.consumers import HANDLES

SERVICE: Final = Service(
    name="payments", handles=lambda _settings: HANDLES, api="services.payments.api", background=call_the_provider, finishes=True
)
