"""The service itself: its model, its metrics, whether it lives and whether it can work."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.problems import responses
from api.routes.dependencies import Bearer, By, Served, guarded_router
from api.schemas import REQUIRED_CHECKS, Readiness
from glyphq.errors import KeyRefused, ModelError, QuotaExceeded
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import SHIPPED, read_card

router = guarded_router()
open_router = APIRouter()
"""Of routes that answer by whatever name the service is called; one that is not for everybody takes a caller."""
_MODEL_EXAMPLE = {
    "architecture": {"channels": [32, 64, 128]},
    "classes": LABELS,
    "digest": "15d5...",
    "temperature": 1.5,
}


@router.get(
    "/v1/model",
    response_class=JSONResponse,
    responses={200: {"content": {"application/json": {"example": _MODEL_EXAMPLE}}}, **responses(ModelError)},
)
def get_model(service: Served) -> JSONResponse:
    """The model's card: classes, architecture, digest, measured accuracy, calibration."""
    return JSONResponse(read_card(service.settings.model or SHIPPED).fields)


@open_router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={
        **responses(KeyRefused, QuotaExceeded),
        200: {
            "description": "Prometheus' text format; docs/operations.md tells what each metric means.",
            "content": {"text/plain": {"example": 'glyphq_queue_messages{queue="bulk"} 8.0\n'}},
        },
    },
)
async def get_metrics(service: Served, _: By) -> Response:
    """For Prometheus: what this process has done, and what waits. At most a second old."""
    return Response(await service.exposition.latest(None), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@open_router.get("/healthz", responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}})
async def healthz() -> dict[str, str]:
    """Whether this process lives."""
    return {"status": "ok"}


@open_router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "Not ready; the checks say why."}},
)
async def readyz(service: Served, response: Response, bearer: Bearer) -> Readiness:
    """Whether work can be done. A full disk and a wrong clock are told, but stand in nobody's way."""
    checks = await service.readiness.checks()
    ready = all(checks[name] == "ok" for name in REQUIRED_CHECKS)
    try:
        await service.authenticator.caller(bearer.credentials if bearer else None)
    except (KeyRefused, QuotaExceeded):  # what it looks like inside is not for strangers
        unsaid = "Not ok; asked with a key, it says why."
        checks = {name: said if said == "ok" else unsaid for name, said in checks.items()}
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)
