"""The command line: arguments in, calls of the client, words and exit codes out. Knows terminals; nothing of HTTP.

Exit codes: 0 done, 1 failed, 2 used wrongly or not installed for this, 3 not finished, 130 interrupted.
"""

from glyphq.cli.app import main

__all__ = ["main"]
