"""What routes are given: the service, who asks, and what many of them take. Knows HTTP; nothing of jobs."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.edge.authentication import Caller
from api.problems import responses
from api.service import Service
from glyphq.errors import CrossSiteRefused, HostRefused, KeyRefused, QuotaExceeded
from glyphq.keys import parts
from glyphq.logs import bind_job
from glyphq.object_names import is_job_id


# Dependencies are async, though they await nothing: FastAPI runs others in a thread, which takes longer than they do.
async def _same_site(sec_fetch_site: Annotated[str, Header(include_in_schema=False)] = "") -> None:
    """Where no key is needed, a page of another site must not speak for whoever looks at it."""
    if sec_fetch_site in ("cross-site", "same-site"):
        raise CrossSiteRefused("The request came from a page of another site. Use the service's own address.")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_service)]
Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, scheme_name="key", description="A key, where the service asks for one.")),
]


async def _by_own_name(request: Request, service: Served) -> None:
    service.authenticator.check_host(request.headers.get("host", ""))


async def _caller(request: Request, service: Served, bearer: Bearer) -> Caller:
    text = bearer.credentials if bearer else None
    shown = parts(text or "")
    request.scope["key_id"] = shown[0] if shown else None  # for the access log, also where the key is refused
    caller = await service.authenticator.caller(text)
    request.scope["owner"] = caller.owner
    return caller


By = Annotated[Caller, Depends(_caller)]


async def _about_job(request: Request) -> None:
    """What is logged from now on is about the job that the path names."""
    job_id = request.path_params.get("job_id", "")
    if is_job_id(job_id):
        bind_job(job_id)


async def _stream_place(service: Served, caller: By) -> AsyncIterator[None]:
    with service.quotas.stream(caller):
        yield


StreamPlace = Annotated[None, Depends(_stream_place)]
"""Held until the answer's last byte."""

JobId = Annotated[
    str, Path(description="A job id, as answered by POST /v1/jobs.", examples=["019ae2f0-6c1f-7d52-b9a5-3a7a1c0d9a11"])
]
Prefer = Annotated[
    str | None, Header(description="`wait=10` holds the request until the job has ended or 10 seconds have passed.")
]


def guarded_router() -> APIRouter:
    """Of routes that answer nobody without a look at who asks."""
    return APIRouter(
        dependencies=[Depends(_same_site), Depends(_by_own_name), Depends(_caller), Depends(_about_job)],
        responses=responses(CrossSiteRefused, HostRefused, KeyRefused, QuotaExceeded),
    )
