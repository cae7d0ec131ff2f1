"""`python -m api.health`: whether the API of this container answers. Exits 1 and says why if not."""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

_TIMEOUT_SECONDS = 3.0


def main() -> None:
    # Not from glyphq.settings: that takes ten times as long to import as all of this, every few seconds.
    connection = HTTPConnection("127.0.0.1", int(os.environ.get("GLYPHQ_PORT", "8000")), timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.exit(f"/healthz: {error}")
    if status != HTTPStatus.OK:
        sys.exit(f"/healthz answers {status}")


if __name__ == "__main__":
    main()
