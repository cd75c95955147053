"""The ceiling of what HTTP costs here: the same route on bare Starlette, which reads the JSON and answers, and nothing else.

`python -m tests.bench.ingress_bare PORT`
"""

import json
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.dev.ports import LOOPBACK


async def _place_order(request: Request) -> Response:
    order = json.loads(await request.body())
    answer = json.dumps({"status": "PENDING", "lines": order["lines"]})
    return Response(answer, 202, {"Location": "/v1/orders/1"}, media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/orders", _place_order, methods=["POST"])])
    uvicorn.run(app, host=LOOPBACK, port=int(sys.argv[1]), log_config=None, access_log=False)
