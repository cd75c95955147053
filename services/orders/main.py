"""The service as the process that runs it sees it."""

from typing import Final

from infra.retention import Forgets
from infra.service import Service
from services.orders.consumers import HANDLES

SERVICE: Final = Service(
    name="orders",
    handles=lambda _settings: HANDLES,
    api="services.orders.api",
    admits=True,
    forgets=(Forgets("idempotency", "created_at", lambda settings: settings.idempotency_keep_days),),
)
