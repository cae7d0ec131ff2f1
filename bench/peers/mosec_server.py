"""A mosec server of the network: `python -m bench.peers.mosec_server --port PORT`, in mosec's environment.

It takes the PNG as the body. mosec reads its own options, the port among them, from the command line; the model's
folder is in BENCH_MODEL. Of 64 clients' images batches of 16 were the fastest on 2 cores, before 32 and 64, in three of
four rounds on a busy machine, and before 8: a worker computes while the others' images arrive. To wait 5 ms for more
instead of 1 gained at most a tenth, and made one client alone wait 9 ms instead of 5.
"""

import os
from pathlib import Path
from typing import Any

import mosec

from bench.peers.eager import decode, open_eager

BATCH = 16
WAIT_MS = 1


class Classifier(mosec.Worker):  # type: ignore[misc]  # is in another environment
    """A copy of the network in every worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._answers = open_eager(Path(os.environ["BENCH_MODEL"]))

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        answers = self._answers([decode(png) for png in data])
        return [{"label": label, "confidence": confidence} for label, confidence in answers]


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Classifier, num=os.cpu_count() or 1, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
