"""Pictures -> logits -> classes and confidences, on torch or OpenVINO. Knows the network; nothing of scans or jobs.

Every engine computes batches of few shapes, padded with black: kernels differ with the shape, and the same picture must
give the same row whatever its neighbours. So the smaller shapes, which make a lone picture quick, are used only where
they give the largest one's logits to the bit. On another machine a row is the same only if engine and precision are. An
engine is opened in the process that uses it, after the fork, and takes one thread: a worker has one process a core.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from glyphq.errors import ModelError, SetupError
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import SHIPPED, load_network
from glyphq.vision.network import Network
from glyphq.vision.picture import PICTURE_SIZE

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]

Compute = Callable[[Pictures], Logits]

SHAPES = 1, 8, 64  # pictures a batch
BATCH = SHAPES[-1]

_OPENVINO_OPTIONS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,  # else every process of a worker is pinned to the same core
    "PERFORMANCE_HINT": "LATENCY",
}


class Engine(Protocol):
    """Something that computes the network."""

    name: str
    """Library, version, precision and device, as recorded with each result."""

    def logits(self, pictures: Pictures) -> Logits:
        """uint8[N, 28, 28], light ink on dark -> float32[N, 47]; a row depends on its own picture alone, to the bit."""
        ...


def open_engine(choice: str = "auto", folder: Path | None = None) -> Engine:
    """The engine `torch` or `openvino` with the model in `folder`.

    `auto` is PyTorch where that finds a GPU, else OpenVINO where it is installed. Without a folder it is the shipped
    model. Raises ModelError as `load_network` does, and SetupError when OpenVINO is asked for and is not installed.
    """
    torch.set_num_threads(1)
    installed = importlib.util.find_spec("openvino") is not None
    if choice == "openvino" and not installed:
        raise SetupError(
            "The engine openvino is not installed. In a clone: pip install -e '.[worker]'; or set GLYPHQ_ENGINE=torch."
        )
    network, _ = load_network(folder or SHIPPED)
    if choice == "openvino" or (choice == "auto" and installed and not torch.cuda.is_available()):
        return OpenVinoEngine(network)
    return TorchEngine(network)


class TorchEngine:
    """Eager PyTorch in float32, on a GPU where it finds one."""

    def __init__(self, network: Network) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.name = f"torch {torch.__version__.split('+')[0]} f32 {self._device.type}"
        self._network = network.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self._shapes = _same_to_the_bit(dict.fromkeys(SHAPES, self._compute))

    def logits(self, pictures: Pictures) -> Logits:
        return _by_batches(self._shapes, pictures)

    def _compute(self, batch: Pictures) -> Logits:
        with torch.inference_mode():
            logits: Logits = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
        return logits


class OpenVinoEngine:
    """OpenVINO on the CPU, in the precision it takes by itself there: bf16 where the CPU has it, else f32."""

    def __init__(self, network: Network) -> None:
        # On import OpenVINO writes to the home directory and reports to Google; without this package it does not.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is "do not import"
        import openvino

        requests: dict[int, Any] = {}
        for shape in SHAPES:
            example = torch.zeros(shape, PICTURE_SIZE, PICTURE_SIZE, dtype=torch.uint8)
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it calls torch.jit.trace
                model = openvino.convert_model(network.eval(), example_input=example, input=[tuple(example.shape)])
            compiled = _openvino_core().compile_model(model, "CPU", _OPENVINO_OPTIONS)
            requests[shape] = compiled.create_infer_request()
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.name = f"openvino {openvino.__version__.split('-')[0]} {precision} cpu"
        self._shapes = _same_to_the_bit({shape: partial(_infer, request) for shape, request in requests.items()})

    def logits(self, pictures: Pictures) -> Logits:
        return _by_batches(self._shapes, pictures)


def _infer(request: Any, batch: Pictures) -> Logits:
    logits: Logits = request.infer([batch], share_inputs=True, share_outputs=True)[0]
    return logits


@cache
def _openvino_core() -> Any:
    """One a process, kept: each sets an alternate stack for signals, and two that end leave one that is unmapped.

    The next signal that has a handler in Python then kills the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _same_to_the_bit(shapes: dict[int, Compute]) -> dict[int, Compute]:
    """Of what computes batches of each shape those that give noise the same logits as the largest does."""
    noise = np.random.default_rng(1).integers(0, 256, (BATCH, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
    expected = shapes[BATCH](noise).copy()  # what an engine answers may lie in a buffer of its own

    def agrees(shape: int) -> bool:
        starts = range(0, BATCH, shape)
        return all(np.array_equal(shapes[shape](noise[at : at + shape]), expected[at : at + shape]) for at in starts)

    return {shape: compute for shape, compute in shapes.items() if agrees(shape)}


def _by_batches(shapes: dict[int, Compute], pictures: Pictures) -> Logits:
    logits = np.empty((len(pictures), len(LABELS)), np.float32)
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        shape = next(shape for shape in shapes if shape >= len(part))
        batch = np.zeros((shape, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
        batch[: len(part)] = part
        logits[start : start + len(part)] = shapes[shape](batch)[: len(part)]
    return logits


def answers(
    logits: Logits, temperature: float, classes: tuple[int, ...], top_k: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """float32[N, 47] -> the `top_k` likeliest of `classes`, uint8[N, k], and their confidences, float32[N, k], falling.

    `classes` are ascending class indices, as `charset_classes` gives them, and no fewer than `top_k`; those not among
    them are masked before the softmax, so confidences are among the allowed ones and sum to 1. The softmax is of
    logits / temperature (Guo, Pleiss, Sun, Weinberger 2017, section 4.2). Of equal logits the lower class comes first.
    Raises ModelError when the network gave something other than numbers.
    """
    scaled = logits[:, classes] / np.float32(temperature)
    if not np.isfinite(scaled).all():
        raise ModelError("The model computes infinities or NaN.")
    likelihoods = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    confidences = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    order = np.argsort(-scaled, axis=1, kind="stable")[:, :top_k]  # stable: ties keep the order of `classes`
    return np.array(classes, np.uint8)[order], np.take_along_axis(confidences, order, axis=1)
