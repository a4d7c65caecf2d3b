"""Training one fold from the tables of the prepare stage to a finished checkpoint."""

import contextlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from roadspeed.errors import TrainingError
from roadspeed.files import file_stamp, fingerprint, locked, provenance, write_json, write_table
from roadspeed.host.engine import choose_engine, cpu_flags
from roadspeed.speedbins import SpeedBins
from roadspeed.train.checkpoint import save_checkpoint
from roadspeed.train.chips import LabelledChip, index_chips, read_fold_chips, split_fold
from roadspeed.train.crops import CropSource
from roadspeed.train.graphs import GraphCheck, GraphScorer, check_scorer, choose_chips, is_due
from roadspeed.train.loader import CropLoader, bound_gdal_cache, split_threads
from roadspeed.train.loop import Progressed, Trainer, finished_training, run_training, unfinished_epochs
from roadspeed.train.losses import RoadLoss
from roadspeed.train.model import ModelSettings, build_model, normalisation
from roadspeed.train.ranks import ALONE, Ranks
from roadspeed.train.settings import TrainSettings
from roadspeed.train.validate import Scores, read_labelled, validate

log = logging.getLogger(__name__)

STATE = ".state"
NEUTRAL = {"engine", "loader_workers", "precision", "processes"}
"""Settings that say how to compute, not what: a training may go on when they change."""
INPUTS = ("fold", "training chips", "validation chips")
"""What a training's identity has beside its settings."""


def train_fold(
    folds: Path,
    rgb: Sequence[Path],
    masks: Sequence[Path],
    fold: int,
    folder: Path,
    settings: TrainSettings,
    bins: SpeedBins,
    threads: int = 1,
    ranks: Ranks = ALONE,
    scorer: GraphScorer | None = None,
) -> None:
    """Train a network on all chips but those of one fold, and validate it on that one's.

    Writes into `folder`: model.safetensors (best epoch, with architecture, normalisation and bins), metrics.csv
    and tensorboard/ after each epoch, and model.json (settings, score, engine, versions) last. The state after
    the last finished epoch is kept in the hidden folder .state; an interrupted training goes on from there if
    settings and inputs are the same. With other settings it refuses; a finished training, or one whose chips were
    made anew, is followed by a fresh one.

    Args:
        folds: table of the folds: city, split, chip_id, fold.
        rgb: tables of the images, one a city and split.
        masks: tables of the masks, likewise.
        fold: the fold to validate on.
        folder: where the results go.
        settings: of the training.
        bins: the speed bins the masks were made with.
        threads: cores to use, by the network and by loading together; of this process where there are several.
        ranks: the processes that share the training: each calls this with the same arguments. The first one writes.
        scorer: scores graphs, where the best epoch is chosen by APLS.

    Raises:
        InputError: a table, image, mask or file of weights cannot be used.
        ConfigError: the best epoch is to be chosen by APLS and there is no scorer.
        TrainingError: there is nothing to train or validate on, or the loss is not finite, or the folder holds an
            unfinished training on the same chips with other settings.
    """
    check_scorer(settings, scorer)
    with locked(folder, f"training of fold {fold}") if ranks.first else contextlib.nullcontext():
        bound_gdal_cache()
        train_chips, validation_chips = split_fold(read_fold_chips(folds, rgb, masks), fold)
        log.info("fold %d: %d training, %d validation chips", fold, len(train_chips), len(validation_chips))
        identity = _identity(train_chips, validation_chips, fold, settings, bins)
        if ranks.first:
            _check_state(folder, identity)
        ranks.wait()  # for the lock and the state's folder
        state_folder = folder / STATE / fingerprint(identity)
        mean, std = normalisation(settings.input_bands)
        architecture = ModelSettings(
            encoder=settings.encoder,
            decoder_channels=settings.decoder_channels,
            decoder_batch_norm=settings.decoder_batch_norm,
            bands=settings.input_bands,
            outputs=bins.bands,
            mean=mean,
            std=std,
        )
        names = channel_names(bins)
        earlier = finished_training(state_folder, settings)
        amx = settings.precision != "fp32" and "amx_bf16" in cpu_flags()
        share = max(1, settings.batch // ranks.size)
        network_threads, workers = split_threads(threads, settings.loader_workers, share, amx)
        engine = choose_engine(settings.engine, settings.precision, network_threads)
        if earlier is not None:
            done, best = earlier
            log.info("fold %d is trained already (%d epochs): writing its results", fold, done.epochs)
            if ranks.first:
                _write_metrics(folder, done.rows)
        else:
            model = build_model(architecture, settings.weights, settings.seed)
            loss = RoadLoss(settings.loss, bins.bands)
            trainer = Trainer(model, loss, settings, engine, ranks)
            source = CropSource(
                train_chips, index_chips(train_chips, bins, settings.input_bands, threads), settings, bins
            )

            own_chips = validation_chips[ranks.part(len(validation_chips))]

            chosen: frozenset[str] = frozenset()
            if scorer is not None and settings.best_by == "apls":
                chosen = choose_chips(validation_chips, scorer.chips, settings.apls_chips, settings.seed)
                log.info("the best epoch is chosen by the graphs of %d validation chips", len(chosen))

            def score(candidate: nn.Module, epoch: int) -> Scores:
                examples = read_labelled(own_chips, settings.input_bands, bins)
                if scorer is None or not is_due(settings, epoch):
                    return validate(candidate, examples, loss, engine, ranks)
                check = GraphCheck(own_chips, chosen, scorer, threads, ranks)
                return check.added_to(validate(candidate, examples, loss, engine, ranks, check.seen))

            part = ranks.part(min(settings.batch, len(source)), least=1)
            with CropLoader(source, settings.batch, workers, network_threads, part) as loader:
                done, best = run_training(
                    trainer, loader, score, state_folder, lambda rows: _write_metrics(folder, rows), names
                )
        if ranks.first:
            save_checkpoint(folder / "model.safetensors", load_file(best), architecture, bins, fold)
            _write_model_record(folder, done, settings, architecture, bins, fold, engine.record(), ranks)


def channel_names(bins: SpeedBins) -> list[str]:
    """Return a name a channel: the speed each bin stands for, then `roads`."""
    return [*(f"{value:g}mph" for value in bins.value_mph), "roads"]


def _identity(
    train: Sequence[LabelledChip],
    validation: Sequence[LabelledChip],
    fold: int,
    settings: TrainSettings,
    bins: SpeedBins,
) -> dict[str, Any]:
    """Return all that decides how a training goes, as plain values."""

    def stamps(chips: Sequence[LabelledChip]) -> str:
        return fingerprint([[chip.chip_id, file_stamp(chip.image), file_stamp(chip.mask)] for chip in chips])

    unused = set() if settings.best_by == "apls" else {"apls_chips", "apls_every"}
    return {
        **dict(zip(INPUTS, (fold, stamps(train), stamps(validation)), strict=True)),
        **{key: value for key, value in settings.model_dump(mode="json").items() if key not in NEUTRAL | unused},
        "bins": bins.model_dump(mode="json"),
    }


def _check_state(folder: Path, identity: dict[str, Any]) -> None:
    """Make the folder of this training's state where it is new and may be.

    Raises:
        TrainingError: another training was interrupted here that would go on if the settings were set back.
    """
    state = folder / STATE
    own = state / fingerprint(identity)
    if own.is_dir():
        return
    earlier = sorted(state.glob("*/identity.json"), key=lambda path: path.stat().st_mtime)
    records = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in earlier]
    for place, last in reversed(records):
        epochs = unfinished_epochs(place, last.get("epochs", 0))
        # With chips made anew nothing could bring that training back: then there is no use in refusing.
        if epochs and all(last.get(key) == identity[key] for key in INPUTS):
            raise TrainingError(
                f"an unfinished training ({epochs} epochs done) in {folder} has other settings: "
                f"{_changes(last, identity)}; set them back to go on with it, or remove {place} to start afresh"
            )
    if records:
        place, last = records[-1]
        log.warning("training starts afresh, since it differs from that in %s: %s", place, _changes(last, identity))
    write_json(own / "identity.json", identity)


def _changes(last: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the settings that differ, old → new, those inside a section by their full name."""

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return result

    old, new = flat(last), flat(now)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in keys)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"


def _write_metrics(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the table of metrics and TensorBoard's events, both anew from all epochs: no doubles after a kill."""
    from torch.utils.tensorboard import SummaryWriter

    if not rows:
        return
    cells = [{key: "" if value != value else f"{value:.6g}" for key, value in row.items()} for row in rows]
    write_table(folder / "metrics.csv", list(rows[0]), cells)
    events = folder / "tensorboard"
    shutil.rmtree(events, ignore_errors=True)
    with SummaryWriter(str(events)) as writer:
        for row in rows:
            for key, value in row.items():
                tag = key.replace("_", "/", 1) if key.startswith(("f1_", "iou_")) else key
                if key != "epoch" and value == value:
                    writer.add_scalar(tag, value, int(row["epoch"]))


def _write_model_record(
    folder: Path,
    done: Progressed,
    settings: TrainSettings,
    architecture: ModelSettings,
    bins: SpeedBins,
    fold: int,
    engine: dict[str, str],
    ranks: Ranks,
) -> None:
    best = done.rows[done.best_epoch - 1]
    record = provenance(
        settings.model_dump(mode="json"),
        model=architecture.model_dump(mode="json"),
        bins=bins.model_dump(mode="json"),
        fold=fold,
        engine=engine,
        processes=ranks.size,
        epochs=done.epochs,
        stopped_early=done.stopped,
        best_epoch=done.best_epoch,
        best={key: None if value != value else value for key, value in best.items()},
        train_seconds=round(sum(row["seconds"] for row in done.rows), 1),
    )
    write_json(folder / "model.json", record)
