"""`python -m api`: serve HTTP with uvicorn at the address of the settings, or on a socket that was handed down."""

import argparse
import asyncio
import gc
import logging
import resource
import socket
import sys
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.edge.access_log import AccessLog
from api.edge.authentication import LOCAL_OWNER
from api.edge.connections import Connections, Edge
from api.edge.security_headers import SecurityHeaders
from glyphq import __version__
from glyphq.blobs import open_blobs
from glyphq.errors import SetupError, StoreError
from glyphq.keys import Keys
from glyphq.logs import set_up_logging
from glyphq.settings import Settings, read_settings, without_password

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5  # for requests under way when the service stops
_OTHER_FILES = 256  # open at a time beside connections and what they stage: Redis, the store, children


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket, open under this number")
    arguments = parser.parse_args()
    try:
        _serve(read_settings(), arguments.fd)
    except (SetupError, StoreError) as error:
        sys.exit(f"error: {error.detail}")


def _serve(settings: Settings, fd: int | None) -> None:
    """Until SIGTERM or SIGINT. Raises SetupError and StoreError where it cannot begin."""
    set_up_logging(settings.log_format)
    # As a socket: uvicorn takes the number of one for a Unix socket, whose clients have no address.
    listener = socket.socket(fileno=fd) if fd is not None else None
    if listener is not None and listener.family not in (socket.AF_INET, socket.AF_INET6):
        raise SetupError("The socket of --fd has to be one of TCP.")
    if listener is not None and not ip_address(listener.getsockname()[0]).is_loopback:
        settings = settings.model_copy(update={"host": listener.getsockname()[0]})  # whatever the settings say
    _make_room_for_files(2 * settings.max_connections + _OTHER_FILES)
    open_blobs(settings.store_url)  # what is wrong with it is said in a line
    app = create_app(settings)
    gc.freeze()  # what is loaded stays: collected with the rest, a lone image took a seventh longer
    connections = Connections(settings.max_connections, settings.max_connections_per_address)
    config = uvicorn.Config(
        AccessLog(SecurityHeaders(app)),
        settings.host,
        settings.port,
        http=partial(Edge, settings, connections),  # type: ignore[arg-type]  # it is called and nothing else
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,  # api/edge/access_log.py has the line
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config, app, settings)
    with suppress(KeyboardInterrupt):
        server.run([listener] if listener else None)
    if not server.started:
        sys.exit(1)  # uvicorn has said why


class _Server(uvicorn.Server):
    """Says when it is ready and when it stops, and then answers whoever waits for a job."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app, self._settings = app, settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        settings = self._settings
        log.info(
            "glyphq %s is ready at %s (%s:%d), store %s, Redis %s",
            __version__, settings.url, settings.host, settings.port, settings.store_url,
            without_password(settings.redis_url),
        )  # fmt: skip
        if not sockets:  # else whoever bound it says where it is
            print(f"glyphq is ready at {settings.url}", flush=True)
        if settings.keys_required:
            await asyncio.to_thread(_print_first_key, settings)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("glyphq stops")
        self._app.state.service.events.stop()
        await super().shutdown(sockets)


def _make_room_for_files(needed: int) -> None:
    """Shells and init systems allow 1024 open files unless a program asks for more."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        raise SetupError(
            f"{needed:,} files may have to be open at once, and the system allows {most:,}. "
            "Raise `ulimit -Hn`, or lower GLYPHQ_MAX_CONNECTIONS."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _print_first_key(settings: Settings) -> None:
    """Where there is no key yet, make one and show it, this once."""
    made = Keys(open_blobs(settings.store_url)).create_first(LOCAL_OWNER)
    if made is not None:
        _, text = made
        print(
            f"This service asks for a key. The first one, which is shown only now:\n\n    {text}\n\n"
            f"In a browser: {settings.url}/#key={text}\n"
            f"Elsewhere: `export GLYPHQ_KEY={text}`, or the header `Authorization: Bearer {text}`.\n"
            f"`glyphq keys` makes more, one for each person, and revokes them.",
            flush=True,
        )


if __name__ == "__main__":
    main()
