"""The training loop: epochs over crops, validation, the best weights, early stop, and a state after each epoch."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from roadspeed.errors import TrainingError
from roadspeed.files import write_text
from roadspeed.host.engine import Engine, channels_last, prepare_training
from roadspeed.progress import Progress
from roadspeed.train.checkpoint import TrainingState, read_record, save_tensors
from roadspeed.train.graphs import best_score, is_better
from roadspeed.train.loader import Batch, CropLoader
from roadspeed.train.losses import RoadLoss
from roadspeed.train.ranks import ALONE, Ranks
from roadspeed.train.settings import TrainSettings
from roadspeed.train.validate import Scores

log = logging.getLogger(__name__)

STATE_FILE = "last.safetensors"
FAILED_FILE = "failed"
"""Marks a state that ran into a non-finite loss: going on with the same settings would do so again."""


@dataclass
class Progressed:
    """How far a training has come: what the state file records beside the tensors."""

    epochs: int = 0
    """Finished epochs."""
    best_epoch: int = 0
    best_score: float | None = None
    """Highest so far (the loss counts negative)."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """One row of metrics an epoch."""
    stopped: bool = False
    """Whether patience ran out."""

    def finished(self, settings: TrainSettings) -> bool:
        """Whether no epoch is left to do."""
        return self.stopped or self.epochs >= settings.epochs


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of an optimizer step (from 0): a pure function, so a resumed training has the same."""
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.warmup_epochs * steps_per_epoch, total)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    if settings.schedule == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in settings.step_epochs)
        return settings.learning_rate * settings.step_factor**passed
    return settings.learning_rate


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Make the optimizer; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate, fused=True)


class NotFiniteError(TrainingError):
    """The loss or the gradients became infinite or no number."""


class Trainer:
    """Model, running mean, optimizer and loss, and one step of them; in each of the processes that share batches."""

    def __init__(
        self, model: nn.Module, loss: RoadLoss, settings: TrainSettings, engine: Engine, ranks: Ranks = ALONE
    ) -> None:
        self.settings, self.engine, self.loss, self.ranks = settings, engine, loss, ranks
        self.ema = channels_last(copy.deepcopy(model).eval()) if settings.ema_decay else None
        self.model, self.optimizer = prepare_training(engine, model, make_optimizer(model, settings))
        self.steps = 0
        self.pending = 0

    @property
    def kept(self) -> nn.Module:
        """The model that is validated and kept: the running mean, or the model itself."""
        return self.model if self.ema is None else self.ema

    def train_batch(self, batch: Batch, rate: Callable[[int], float]) -> float:
        """Learn from a batch (this process's part of it) and return the whole batch's loss.

        The optimizer steps each `accumulate` batches. All processes get the same loss and take the same step.

        Raises:
            NotFiniteError: the loss or the gradients are not finite.
        """
        settings = self.settings
        with self.engine.autocast():
            logits = self.model(batch.images)
        add = self.ranks.add if self.ranks.size > 1 else None
        loss = self.loss(logits, batch.targets.float().mul_(1 / 255), add)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError(self._not_finite("loss", value, batch))
        (loss / settings.accumulate).backward()
        self.pending += 1
        if self.pending == settings.accumulate:
            self.ranks.add_gradients(self.model.parameters())
            norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm or math.inf))
            if not math.isfinite(norm):
                raise NotFiniteError(self._not_finite("gradient", norm, batch))
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.steps)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.steps += 1
            self.pending = 0
            self._average()
        return value

    def _not_finite(self, what: str, value: float, batch: Batch) -> str:
        names = "; ".join(self.ranks.texts("; ".join(batch.names)))
        return f"the {what} became {value} on the crops {names}: look at these chips, or lower train.learning_rate"

    def agree(self, tensors: Iterable[torch.Tensor], weight: float) -> None:
        """Make all processes' tensors the same: the means of batch norm their mean, all else the first one's.

        Parameters are the same already but for rounding, where processes have different numbers of threads. Means
        are averages of averages over each process's part, so it is enough to average them once an epoch.

        Args:
            tensors: all that a resumed training would start from.
            weight: this process's share of each batch.
        """
        models = [self.model] if self.ema is None else [self.model, self.ema]
        names = ("running_mean", "running_var")
        means = [value for model in models for name, value in model.named_buffers() if name.endswith(names)]
        self.ranks.average(means, weight)
        self.ranks.copy_first(tensors)

    def _average(self) -> None:
        if self.ema is None:
            return
        # Short at first, so that the random start is forgotten.
        decay = min(self.settings.ema_decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mean, now in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)


def run_training(
    trainer: Trainer,
    loader: CropLoader,
    validation: Callable[[nn.Module, int], Scores],
    state_folder: Path,
    after_epoch: Callable[[Sequence[dict[str, float]]], None],
    channel_names: Sequence[str],
) -> tuple[Progressed, Path]:
    """Train until all epochs are done or patience runs out, going on from the state folder where it has one.

    Args:
        trainer: fresh, with its first weights. Of several processes only the first one's writes files.
        loader: gives an epoch's batches.
        validation: scores a model after an epoch (from 1).
        state_folder: holds the state after the last finished epoch and the best weights.
        after_epoch: is given all rows of metrics, also once at a resume.
        channel_names: one a channel of the output, for the metrics' columns.

    Returns:
        How it went, and the file of the best weights.

    Raises:
        NotFiniteError: a loss is not finite.
    """
    settings, ranks = trainer.settings, trainer.ranks
    state = TrainingState(trainer.model, trainer.ema, trainer.optimizer)
    state_file = state_folder / STATE_FILE
    done = Progressed()
    if state_file.is_file():
        record = state.load(state_file)
        trainer.steps = record["steps"]
        done = Progressed(**record["done"])
        log.info("going on after epoch %d of %d", done.epochs, settings.epochs)
        if ranks.first:
            after_epoch(done.rows)
    steps_per_epoch = max(1, len(loader) // settings.accumulate)
    while not done.finished(settings):
        started = time.monotonic()
        trainer.model.train()
        losses = []
        what = f"epoch {done.epochs + 1} of {settings.epochs}"
        with Progress(what, len(loader), "step", closing=False) as progress:
            for batch in loader.epoch(done.epochs):
                try:
                    loss = trainer.train_batch(batch, lambda step: learning_rate(settings, step, steps_per_epoch))
                except NotFiniteError as error:
                    if ranks.first:
                        write_text(state_folder / FAILED_FILE, f"{error}\n")
                    raise
                losses.append(loss)
                progress.update()
        # Batches that did not fill a step are dropped, so that each epoch has as many steps.
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.pending = 0
        trainer.agree(state.tensors().values(), loader.share)
        trained = time.monotonic()
        scores = validation(trainer.kept, done.epochs + 1)
        score = best_score(settings, scores)
        done.epochs += 1
        images = len(loader) * min(settings.batch, len(loader.source))
        row: dict[str, float] = {
            "epoch": done.epochs,
            "train_loss": sum(losses) / len(losses),
            "val_loss": scores.loss,
            "dice": scores.dice,
            "apls_length": scores.apls_length,
            "apls_time": scores.apls_time,
            **{f"f1_{name}": value for name, value in zip(channel_names, scores.f1, strict=True)},
            **{f"iou_{name}": value for name, value in zip(channel_names, scores.iou, strict=True)},
            "learning_rate": trainer.optimizer.param_groups[0]["lr"],
            "images_per_s": images / (trained - started),
            "seconds": time.monotonic() - started,
        }
        done.rows.append(row)
        better = is_better(score, done.best_score)
        if better:
            done.best_epoch, done.best_score = done.epochs, score
        if better and ranks.first:
            save_tensors(_best_file(state_folder, done.epochs), trainer.kept.state_dict(), {})
        score_graphs = (scores.apls_length + scores.apls_time) / 2
        done.stopped = 0 < settings.patience <= done.epochs - done.best_epoch
        log.info(
            "epoch %d of %d: loss %.4f, validation %.4f, Dice %.3f (roads %.3f)%s, %.1f crops/s, %.0f s%s",
            done.epochs,
            settings.epochs,
            row["train_loss"],
            scores.loss,
            scores.dice,
            scores.f1[-1],
            "" if math.isnan(score_graphs) else f", APLS {score_graphs:.3f}",
            row["images_per_s"],
            row["seconds"],
            ", best" if done.best_epoch == done.epochs else "",
        )
        if not ranks.first:
            continue
        record = {"done": asdict(done), "steps": trainer.steps}
        if done.finished(settings):
            save_tensors(state_file, {}, record)  # nothing will go on from here: the best weights are enough
        else:
            state.save(state_file, record)
        (state_folder / FAILED_FILE).unlink(missing_ok=True)
        for old in state_folder.glob(f"{_best_file(state_folder, 0).stem[:5]}*.safetensors"):
            if old != _best_file(state_folder, done.best_epoch):
                old.unlink()
        after_epoch(done.rows)
    if done.stopped:
        log.info("stopped: no better epoch than %d in the last %d", done.best_epoch, settings.patience)
    return done, _best_file(state_folder, done.best_epoch)


def finished_training(state_folder: Path, settings: TrainSettings) -> tuple[Progressed, Path] | None:
    """Return what `run_training` returned if the state folder holds a finished training, else None."""
    state_file = state_folder / STATE_FILE
    if not state_file.is_file():
        return None
    done = Progressed(**read_record(state_file)["done"])
    best = _best_file(state_folder, done.best_epoch)
    return (done, best) if done.finished(settings) and best.is_file() else None


def unfinished_epochs(state_folder: Path, epochs: int) -> int:
    """Return how many epochs a training has done that would go on from this folder; 0 where none would.

    Args:
        state_folder: of a training that may be finished, interrupted, failed, or not even begun.
        epochs: how many it was to have.
    """
    state_file = state_folder / STATE_FILE
    if not state_file.is_file() or (state_folder / FAILED_FILE).is_file():
        return 0
    done = Progressed(**read_record(state_file)["done"])
    return 0 if done.stopped or done.epochs >= epochs else done.epochs


def _best_file(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch:04d}.safetensors"
