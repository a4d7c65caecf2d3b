"""Probabilities of labelled chips to APLS: extraction and scoring together, for stages that lie before both."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from roadspeed.chips import read_chips
from roadspeed.extract.chip import extract_raster
from roadspeed.extract.settings import ExtractSettings
from roadspeed.parallel import map_ordered
from roadspeed.prepare.labels import read_labels
from roadspeed.score.evaluate import evaluate
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.speedbins import SpeedBins
from roadspeed.train.graphs import ChipProbability


class LabelScorer:
    """Scores chips against their labels, as the stages extract and score would; training's `GraphScorer`.

    Args:
        tables: chip tables.
        extract: how graphs are made.
        score: how they are scored.
        bins: the speed bins of the probabilities.

    Raises:
        InputError: a table is missing or is none.
    """

    def __init__(
        self, tables: Sequence[Path], extract: ExtractSettings, score: ScoreSettings, bins: SpeedBins
    ) -> None:
        self.labels = {
            chip.chip_id: chip.label
            for table in tables
            for chip in read_chips(table)
            if chip.label is not None and chip.label_state == "roads"
        }
        self.extract, self.score, self.bins = extract, score.model_copy(update={"metrics": ()}), bins

    @property
    def chips(self) -> Collection[str]:
        """Ids of the chips whose labels have roads."""
        return self.labels.keys()

    def __call__(self, found: Sequence[ChipProbability], threads: int) -> list[tuple[float, float]]:
        """Return APLS by length and by travel time of each chip.

        Raises:
            InputError: a label cannot be read.
        """
        work = partial(_score_chip, self.extract, self.score, self.bins)
        jobs = [(chip, self.labels[chip.chip_id]) for chip in found]
        return list(map_ordered(work, jobs, len(jobs), threads, "APLS of validation"))


def _score_chip(
    extract: ExtractSettings, score: ScoreSettings, bins: SpeedBins, job: tuple[ChipProbability, Path]
) -> tuple[float, float]:
    chip, label = job
    graph = extract_raster(chip.pixels, chip.grid, extract, bins, chip.chip_id)
    truth = read_labels(label)
    scores = evaluate(Roads(truth.lines, truth.speed_mph), Roads(graph.geometry, graph.speed_mph), score)
    by_length, by_time = scores.apls_length, scores.apls_time
    assert by_length is not None, "both are given whole"
    return by_length, by_length if by_time is None else by_time
