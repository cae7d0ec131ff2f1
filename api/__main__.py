"""`python -m api`: serve HTTP with uvicorn at the address of the settings, or on a socket that was handed down."""

import argparse
import gc
import logging

import uvicorn

from api.access import LOCAL_OWNER
from api.app import create_app
from glyphq.blobs import LocalBlobs
from glyphq.keys import Keys
from glyphq.settings import Settings

_GRACE_SECONDS = 5  # for requests under way when the service stops


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket, open under this number")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    if settings.keys_required:
        _print_first_key(settings)
    address = {"fd": arguments.fd} if arguments.fd is not None else {"host": settings.host, "port": settings.port}
    app = create_app(settings)
    gc.freeze()  # what is loaded stays: collected with the rest, a lone image took a seventh longer
    uvicorn.run(
        app,
        **address,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _print_first_key(settings: Settings) -> None:
    """Where there is no key yet, make one and show it, this once."""
    made = Keys(LocalBlobs(settings.store_path)).create_first(LOCAL_OWNER)
    if made is not None:
        _, text = made
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(
            f"This service asks for a key. The first one, which is shown only now:\n\n    {text}\n\n"
            f"In a browser: http://{host}:{settings.port}/#key={text}\n"
            f"Elsewhere: `export GLYPHQ_KEY={text}`, or the header `Authorization: Bearer {text}`.\n"
            f"`glyphq keys` makes more, one for each person, and revokes them.",
            flush=True,
        )


if __name__ == "__main__":
    main()
