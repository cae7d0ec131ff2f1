"""`python -m api.health`: whether the API of this container answers. Exits 1 and says why if not."""

import sys
from http.client import HTTPConnection, HTTPException

from glyphq.settings import Settings

_TIMEOUT_SECONDS = 3.0


def main() -> None:
    connection = HTTPConnection("127.0.0.1", Settings().port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.exit(f"/healthz: {error}")
    if status != 200:  # HTTP's OK
        sys.exit(f"/healthz answers {status}")


if __name__ == "__main__":
    main()
