"""`python -m api`: serve HTTP with uvicorn at the address of the settings, or on a socket that was handed down."""

import argparse
import gc
import logging
import sys

import uvicorn

from api.app import create_app
from glyphq.settings import Settings

_GRACE_SECONDS = 5  # for requests under way when the service stops


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket, open under this number")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    if not (settings.loopback or settings.insecure_bind):
        sys.exit(
            f"error: {settings.host} can be reached from other machines and there are no keys. Bind to 127.0.0.1, "
            "or set GLYPHQ_INSECURE_BIND=1 where something in front keeps strangers out."
        )
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


if __name__ == "__main__":
    main()
