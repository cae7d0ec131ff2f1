"""`python -m api`: serve HTTP with uvicorn at the address of the settings, or on a socket that was handed down."""

import argparse
import gc
import resource
import socket
import sys
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import uvicorn

from api.app import create_app
from api.edge.access_log import Observed
from api.edge.authentication import LOCAL_OWNER
from api.edge.connections import Connections, Edge
from api.edge.security_headers import SecurityHeaders
from glyphq.blobs import open_blobs
from glyphq.keys import Keys
from glyphq.logs import set_up_logging
from glyphq.settings import Settings, url_of

_GRACE_SECONDS = 5  # for requests under way when the service stops
_OTHER_FILES = 256  # open at a time beside connections and what they stage: Redis, the store, children


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket, open under this number")
    arguments = parser.parse_args()
    settings = Settings()
    set_up_logging(settings.log_format)
    # As a socket: uvicorn takes the number of one for a Unix socket, whose clients have no address.
    listener = socket.socket(fileno=arguments.fd) if arguments.fd is not None else None
    if listener is not None and listener.family not in (socket.AF_INET, socket.AF_INET6):
        sys.exit("error: the socket of --fd has to be one of TCP.")
    if listener is not None and not ip_address(listener.getsockname()[0]).is_loopback:
        settings = settings.model_copy(update={"host": listener.getsockname()[0]})  # whatever the settings say
    if listener is None:
        print(f"glyphq will be at {url_of(settings.host, settings.port)}", flush=True)
    if settings.keys_required:
        _print_first_key(settings)
    _make_room_for_files(2 * settings.max_connections + _OTHER_FILES)
    app = create_app(settings)
    gc.freeze()  # what is loaded stays: collected with the rest, a lone image took a seventh longer
    connections = Connections(settings.max_connections, settings.max_connections_per_address)
    config = uvicorn.Config(
        Observed(SecurityHeaders(app)),
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
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener] if listener else None)


def _make_room_for_files(needed: int) -> None:
    """Shells and init systems allow 1024 open files unless a program asks for more."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(
            f"error: {needed:,} files may have to be open at once, and the system allows {most:,}. "
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
            f"In a browser: {url_of(settings.host, settings.port)}/#key={text}\n"
            f"Elsewhere: `export GLYPHQ_KEY={text}`, or the header `Authorization: Bearer {text}`.\n"
            f"`glyphq keys` makes more, one for each person, and revokes them.",
            flush=True,
        )


if __name__ == "__main__":
    main()
