"""The command line: arguments in, calls of the client, words and exit codes out. Knows terminals; nothing of HTTP.

Exit codes: 0 done, 1 failed, 2 used wrongly or not installed for this, 3 not finished, 130 interrupted.
"""

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import httpx


def main(arguments: Sequence[str] | None = None, transport: "httpx.BaseTransport | None" = None) -> NoReturn:
    """Run one command and exit. `transport` is what talks to the network, if not httpx's own."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # Ctrl-C ends the process; raised while it imports, it is a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from glyphq.cli.app import run

    signal.signal(signal.SIGINT, interrupt)
    run(arguments, transport)
