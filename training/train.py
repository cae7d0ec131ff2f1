"""Train a recipe: `python -m training.train --recipe best --data ROOT`. Resumes where it stopped.

Knows steps, epochs and checkpoints; what becomes of the result is `training.export`'s. An epoch's order follows from
the seed and the epoch's number, a step's dropout and augmentation from the seed and the step's number, so a resumed
run is the run that was interrupted.
"""

import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Annotated, Any, Self

import torch
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glyphq.errors import GlyphqError, SetupError
from glyphq.vision.network import Network, parameters
from training.data import Pictures, hold_out, load_emnist
from training.fonts import load_fonts
from training.recipes import Recipe, read_recipe

RUNS = Path("runs")
CHECKPOINT = "checkpoint.pt"
_SEEDS_APART = 1_000_003  # the seeds of steps and epochs of two runs do not meet
_PROGRESS_EVERY = 50  # steps

LossOf = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Epoch:
    """What one epoch came to; loss and accuracy are of the augmented images, with dropout, as they were trained on."""

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    images_per_second: float


@dataclass
class Run:
    """A recipe under way: the state that a checkpoint keeps, and how to take a step."""

    recipe: Recipe
    device: torch.device
    steps_per_epoch: int
    network: Network = field(init=False)
    averaged: AveragedModel | None = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    totals: Tensor = field(init=False)  # of the epoch under way: loss x images, right answers, images

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        # Beside what the name says: the gradient of max pooling is then compiled to a gather, faster than its scatter.
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.network = Network(self.recipe.architecture).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        self.averaged = None
        if self.recipe.averaging:
            average = get_ema_multi_avg_fn(self.recipe.averaging)
            self.averaged = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=self.recipe.weight_decay, fused=True)
        self.totals = torch.zeros(3, device=self.device)

    @property
    def result(self) -> Network:
        """The network to be judged and shipped: the averaged one where the recipe averages."""
        return self.network if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def take_step(self, loss_of: LossOf, batch: Pictures) -> None:
        """Learn from one batch."""
        torch.manual_seed(self.recipe.seed * _SEEDS_APART + self.step)
        self.optimizer.param_groups[0]["lr"] = self.recipe.learning_rate(self.step / self.steps_per_epoch)
        loss, right = loss_of(batch.pixels, batch.classes)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        self.totals += torch.stack([loss.detach() * len(batch), right, right.new_tensor(len(batch))])
        self.step += 1

    def state(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.as_dict(),
            "network": self.network.state_dict(),
            "averaged": self.averaged and self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "totals": self.totals,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], state["history"]
        self.totals = state["totals"].to(self.device)


def read_checkpoint(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The state of the run in `folder`, None where there is none. Raises SetupError for another recipe's."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        whose = state["recipe"]
    except Exception as error:  # whatever unpickling damage raises
        raise SetupError(f"{path} is damaged, or no checkpoint. Remove it to begin the run anew.") from error
    if whose != recipe.as_dict():
        raise SetupError(f"{path} is of another recipe than {recipe.name} is now. Remove it, or restore the recipe.")
    return state


def finished_run(recipe: Recipe, folder: Path) -> tuple[Network, list[dict[str, Any]]]:
    """The network that a run came to, and what each epoch came to. Raises SetupError when it is not there yet."""
    state = read_checkpoint(folder, recipe)
    if state is None:
        raise SetupError(f"There is no run in {folder}. Train first: make train RECIPE={recipe.name}")
    done = len(state["history"])
    if done < recipe.epochs:
        raise SetupError(f"The run in {folder} has done {done} of its {recipe.epochs} epochs. Run the training again.")
    run = Run(recipe, torch.device("cpu"), steps_per_epoch=0)
    run.restore(state)
    return run.result.eval(), run.history


def train(
    recipe: Recipe, training: Pictures, validation: Pictures, folder: Path, fonts: Pictures | None = None
) -> Network:
    """Run what is left of the recipe. In `folder`: a checkpoint each epoch, `log.txt`, and scalars for TensorBoard.

    `fonts` are the pictures that stages with a part of them draw from.

    Raises KeyboardInterrupt after Ctrl-C, when all that was done is saved, and SetupError when `folder` cannot be
    written.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training, validation, fonts = training.to(device), validation.to(device), fonts and fonts.to(device)
    images = recipe.images_per_epoch or len(training)
    if images < recipe.batch_size or (images > len(training) and not recipe.class_balanced):
        raise SetupError(
            f"Recipe {recipe.name} takes {images} images an epoch in batches of {recipe.batch_size}, "
            f"but there are {len(training)}."
        )
    run = Run(recipe, device, steps_per_epoch=images // recipe.batch_size)
    if state := read_checkpoint(folder, recipe):
        run.restore(state)
    if run.step == recipe.epochs * run.steps_per_epoch:
        return run.result.eval()
    loss_of = loss_function(run)
    with _writing(folder), _stopping() as stop, _Reports(folder, run) as reports:
        while run.step < recipe.epochs * run.steps_per_epoch:
            started, first = monotonic(), run.step
            for batch in batches(run, training, fonts):
                run.take_step(loss_of, batch)
                if stop() and run.step % run.steps_per_epoch:
                    _save(folder, run)
                    raise KeyboardInterrupt
                if run.step % _PROGRESS_EVERY == 0:
                    reports.progress()
            rate = (run.step - first) * recipe.batch_size / (monotonic() - started)
            reports.epoch(_close_epoch(run, validation, rate))
            _save(folder, run)
            if stop() and run.step < recipe.epochs * run.steps_per_epoch:
                raise KeyboardInterrupt
    return run.result.eval()


def loss_function(run: Run) -> LossOf:
    """uint8[N, 28, 28], int64[N] -> (mean loss of the pictures as augmented, how many are answered right)."""
    augmentation = run.recipe.augmentation
    augment = {s.augmentation: torch.compile(augmentation.scaled(s.augmentation)) for s in run.recipe.stages}

    @torch.compile
    def loss_of(pictures: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(run.device.type, torch.bfloat16):
            logits = run.network(pictures)
        loss = nn.functional.cross_entropy(logits.float(), classes, label_smoothing=run.recipe.label_smoothing)
        return loss, (logits.argmax(1) == classes).float().sum()

    def augmented_loss_of(pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        run.network.train()
        stage, _ = run.recipe.stage(run.step / run.steps_per_epoch)
        return loss_of(augment[stage.augmentation](pixels), classes)

    return augmented_loss_of


def batches(run: Run, training: Pictures, fonts: Pictures | None = None) -> Iterator[Pictures]:
    """Those of the epoch under way that have not been trained on.

    The last, smaller batch is left out: the compiled step knows one shape, and the next epoch's order is another.
    """
    epoch, done = divmod(run.step, run.steps_per_epoch)
    generator = torch.Generator().manual_seed(run.recipe.seed * _SEEDS_APART + epoch)
    stage, _ = run.recipe.stage(epoch)
    from_fonts = round(stage.fonts * run.recipe.batch_size)
    own = run.recipe.batch_size - from_fonts
    if run.recipe.class_balanced:
        order = _balanced(training, run.steps_per_epoch * own, generator)
    else:
        order = torch.randperm(len(training), generator=generator).to(training.classes.device)
    chosen = order.split(own)[: run.steps_per_epoch]
    if not from_fonts:
        yield from (training[part] for part in chosen[done:])
        return
    if fonts is None:
        raise SetupError(f"Recipe {run.recipe.name} takes pictures from fonts, and was given none.")
    drawn = _balanced(fonts, run.steps_per_epoch * from_fonts, generator).split(from_fonts)
    for part, others in zip(chosen[done:], drawn[done:], strict=True):
        yield training[part] + fonts[others]


def _balanced(pictures: Pictures, count: int, generator: torch.Generator) -> Tensor:
    """Positions drawn with replacement, every class as often."""
    share = 1 / torch.bincount(pictures.classes)[pictures.classes].cpu()
    return torch.multinomial(share, count, replacement=True, generator=generator).to(pictures.classes.device)


def _close_epoch(run: Run, validation: Pictures, images_per_second: float) -> Epoch:
    loss, right, images = run.totals.tolist()
    run.totals.zero_()
    accuracy, validation_loss = accuracy_and_loss(run.result, validation)
    epoch = Epoch(
        epoch=len(run.history) + 1,
        learning_rate=run.optimizer.param_groups[0]["lr"],
        loss=round(loss / images, 4),
        accuracy=round(right / images, 4),
        validation_loss=round(validation_loss, 4),
        validation_accuracy=round(accuracy, 4),
        images_per_second=round(images_per_second),
    )
    run.history.append(vars(epoch))
    return epoch


@torch.no_grad()
def accuracy_and_loss(network: nn.Module, pictures: Pictures) -> tuple[float, float]:
    """Of all pictures, the loss a mean cross-entropy in nats; in evaluation mode."""
    logits = logits_of(network, pictures.pixels)
    loss = nn.functional.cross_entropy(logits, pictures.classes)
    return (logits.argmax(1) == pictures.classes).float().mean().item(), loss.item()


@torch.no_grad()
def logits_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """float32[N, classes], computed in float32."""
    network.eval()
    return torch.cat([network(batch) for batch in pixels.split(512)])


class _Reports:
    """A moving line for a terminal, a line an epoch for the log, scalars for TensorBoard."""

    def __init__(self, folder: Path, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._run = folder, run
        self._total = run.recipe.epochs * run.steps_per_epoch
        self._scalars = SummaryWriter(str(folder / "tensorboard"), purge_step=len(run.history) + 1)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/" + str(run.recipe.epochs)),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.4f}"),
            TextColumn("{task.fields[rate]:,.0f} images/s"),
            TimeRemainingColumn(),
            transient=True,
        )
        self._bar.disable = not self._bar.console.is_terminal
        self._task = self._bar.add_task(
            "", total=self._total, completed=run.step, epoch=len(run.history) + 1, loss=0.0, accuracy=0.0, rate=0.0
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._scalars.close()

    def progress(self) -> None:
        loss, right, images = self._run.totals.tolist()
        speed = self._bar.tasks[0].speed or 0
        self._bar.update(
            self._task,
            completed=self._run.step,
            epoch=len(self._run.history) + 1,
            loss=loss / max(images, 1),
            accuracy=right / max(images, 1),
            rate=speed * self._run.recipe.batch_size,
        )

    def epoch(self, epoch: Epoch) -> None:
        left = (self._total - self._run.step) * self._run.recipe.batch_size / epoch.images_per_second
        self._bar.console.print(f"{self._line(epoch)}  {left / 60:.0f} min left", highlight=False, soft_wrap=True)
        lines = (self._line(Epoch(**past)) for past in self._run.history)
        (self._folder / "log.txt").write_text("".join(f"{line}\n" for line in lines))
        for name, value in vars(epoch).items():
            if name != "epoch":
                self._scalars.add_scalar(name, value, epoch.epoch)
        self._scalars.flush()

    def _line(self, epoch: Epoch) -> str:
        return (
            f"epoch {epoch.epoch}/{self._run.recipe.epochs}  rate {epoch.learning_rate:.3g}  "
            f"loss {epoch.loss:.4f} accuracy {epoch.accuracy:.4f}  "
            f"validation loss {epoch.validation_loss:.4f} accuracy {epoch.validation_accuracy:.4f}  "
            f"{epoch.images_per_second:,.0f} images/s"
        )


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C into an answer to the question whether to stop; the second one is not waited for."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    before = threading.excepthook
    # What TensorBoard's thread cannot write is raised here as well; its traceback would say it twice.
    threading.excepthook = lambda failed: None if issubclass(failed.exc_type, OSError) else before(failed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise SetupError(
            f"{folder} cannot be written ({error.strerror}). Make room and run the same command: "
            "it goes on after the last epoch that was saved."
        ) from error
    finally:
        threading.excepthook = before


def _save(folder: Path, run: Run) -> None:
    content = io.BytesIO()
    torch.save(run.state(), content)
    temporary = folder / f"{CHECKPOINT}.tmp"
    temporary.write_bytes(content.getbuffer())
    temporary.replace(folder / CHECKPOINT)


def main(
    recipe: Annotated[str, typer.Option(help="A name from training/recipes.")] = "best",
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    threads: Annotated[int, typer.Option(help="Threads to compute with; 0 is one a core.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on with the run there is; --no-resume begins anew.")] = True,
) -> None:
    """Train a recipe on EMNIST into runs/RECIPE. Ctrl-C saves; run again to go on."""
    if threads:
        torch.set_num_threads(threads)
    try:
        chosen = read_recipe(recipe)
        training, validation = hold_out(load_emnist(data, chosen.split, train=True), seed=chosen.seed)
        size = parameters(Network(chosen.architecture))
        print(f"{len(training):,} images to train on, {len(validation):,} held out; {size:,} parameters")
        if not resume:
            (RUNS / recipe / CHECKPOINT).unlink(missing_ok=True)
        train(chosen, training, validation, RUNS / recipe, load_fonts() if chosen.takes_fonts else None)
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from what was saved last.", err=True)
        raise SystemExit(130) from None


if __name__ == "__main__":
    typer.run(main)
