"""A LitServe server of the network: `python -m bench.peers.litserve_server PORT`, in LitServe's environment.

It takes JSON with the PNG in base64, as LitServe's examples do. Batches of 8, 16 and 64 were no
faster than of 32, which is half of the 64 clients, on 2 cores: they differ less than two runs do. To wait 5 ms for
more instead of 1 gained nothing with 64 clients, and made one alone wait 7 ms instead of 4 or 5.
"""

import base64
import os
from pathlib import Path
from typing import Any

import litserve
import typer

from bench.peers.eager import Answer, Gray, decode, open_eager
from glyphq.vision.checkpoint import SHIPPED

BATCH = 32
TIMEOUT_SECONDS = 0.001


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # is in another environment
    """A copy of the network in every worker process."""

    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=TIMEOUT_SECONDS)
        self._model = model

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        self._answers = open_eager(self._model)

    def decode_request(self, request: dict[str, str]) -> Gray:
        return decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Gray]) -> list[Gray]:
        return inputs

    def predict(self, x: list[Gray]) -> list[Answer]:
        return self._answers(x)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    def encode_response(self, output: Answer) -> dict[str, Any]:
        label, confidence = output
        return {"label": label, "confidence": confidence}


def main(port: int, model: Path = SHIPPED) -> None:
    server = litserve.LitServer(
        Classifier(model), accelerator="cpu", workers_per_device=os.cpu_count() or 1, fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    typer.run(main)
