"""The workflow's configuration: every key typed, described, with a default, checked when loaded."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.errors import ConfigError, InputError
from roadspeed.extract.settings import ExtractSettings
from roadspeed.predict.settings import PredictSettings
from roadspeed.prepare.settings import MULTISPECTRAL_BANDS, PrepareSettings
from roadspeed.report.settings import ReportSettings
from roadspeed.score.settings import ScoreSettings
from roadspeed.settings import Settings
from roadspeed.speedbins import SpeedBins
from roadspeed.train.settings import TrainSettings

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class City(Settings):
    """One area of interest."""

    use: Literal["train", "evaluate"] = "train"
    """`train`: its labelled chips go into the folds. `evaluate`: never trained on; its labels only score."""
    train: tuple[Tarball, ...] = ()
    """Tarballs of the labelled split: images and labels, in one tarball or in several."""
    test_public: tuple[Tarball, ...] = ()
    """Tarballs of the split without labels."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.train and not self.test_public:
            raise ValueError("a city needs tarballs under train, test_public or both")
        return self


class Config(Settings):
    """The whole configuration of a run."""

    run: str = "baseline"
    """Name of this experiment: its results go to results_dir/run."""
    data_dir: str = "data"
    """Folder of what is fetched and prepared, shared by all runs."""
    results_dir: str = "results"
    """Folder of what runs make."""
    bucket: str = "s3://spacenet-dataset"
    """Where the tarballs are: s3://bucket, https://host/path or file://folder (relative to the working folder)."""
    cities: dict[str, City] = Field(default_factory=dict)
    """The areas of interest, by a short name of small letters, digits and underscores."""
    folds: tuple[int, ...] = (0,)
    """Folds to train: one network each, averaged in prediction. At most prepare.folds.count of them."""
    shards: int = Field(default=1, ge=1, le=999)
    """Prediction jobs that a city and split is divided into."""
    speed_bins: SpeedBins = SpeedBins()
    """Classes of speed."""
    acquire: AcquireSettings = AcquireSettings()
    """Stage acquire: tarballs to chips and labels."""
    prepare: PrepareSettings = PrepareSettings()
    """Stage prepare: 8-bit RGB, speed masks, folds."""
    train: TrainSettings = TrainSettings()
    """Stage train: the network and how it learns."""
    predict: PredictSettings = PredictSettings()
    """Stage predict: probabilities for every chip."""
    extract: ExtractSettings = ExtractSettings()
    """Stage extract: probabilities to road graphs."""
    score: ScoreSettings = ScoreSettings()
    """Stage score: graphs against labels."""
    report: ReportSettings = ReportSettings()
    """Stage report: pictures and the page."""

    @field_validator("run")
    @classmethod
    def _check_run(cls, value: str) -> str:
        if not _RUN.fullmatch(value):
            raise ValueError("a run's name has letters, digits, _ and - only")
        return value

    @field_validator("cities")
    @classmethod
    def _check_cities(cls, value: dict[str, City]) -> dict[str, City]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"city name {name!r} must be small letters, digits and underscores")
        if not value:
            raise ValueError("no city is given")
        if not any(city.use == "train" and city.train for city in value.values()):
            raise ValueError("no city has use: train and a train split, so there is nothing to learn from")
        return value

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        count = self.prepare.folds.count
        if not self.folds or len(set(self.folds)) != len(self.folds) or not set(self.folds) <= set(range(count)):
            raise ValueError(f"folds {list(self.folds)} must be different numbers from 0 to {count - 1}")
        return self

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        stretch, product = self.prepare.stretch, self.acquire.product
        has = {"PS-MS": MULTISPECTRAL_BANDS, "PS-RGB": 3}[product]
        if stretch.highest > has:
            raise ValueError(
                f"prepare.stretch.bands needs images of {stretch.highest} bands, those of acquire.product {product} "
                f"have {has}"
            )
        if self.train.bands not in (None, stretch.count):
            raise ValueError(
                f"train.bands is {self.train.bands}, but prepare.stretch.bands gives the images {stretch.count}; "
                "leave train.bands empty, and it follows"
            )
        return self

    @property
    def train_settings(self) -> TrainSettings:
        """Settings of the train stage with the bands that the prepare stage writes."""
        return self.train.model_copy(update={"bands": self.prepare.stretch.count})

    def splits(self) -> Iterator[tuple[str, str]]:
        """Yield (city, split) of everything to predict."""
        for name, city in self.cities.items():
            for split in ("train", "test_public"):
                if getattr(city, split):
                    yield name, split

    def tarballs(self, city: str, split: str) -> tuple[Tarball, ...]:
        """Return the tarballs of a city's split."""
        value: tuple[Tarball, ...] = getattr(self.cities[city], split)
        return value

    @property
    def labelled(self) -> list[str]:
        """Cities with a labelled split."""
        return [name for name, city in self.cities.items() if city.train]

    @property
    def trained(self) -> list[str]:
        """Cities whose labelled chips go into the folds."""
        return [name for name in self.labelled if self.cities[name].use == "train"]


def check_config(values: Mapping[str, object]) -> Config:
    """Check plain values, as read from YAML.

    Raises:
        ConfigError: a key is unknown or a value is not accepted; the message is one line.
    """
    try:
        return Config.checked({"cities": {}} | dict(values))
    except ConfigError as error:
        raise ConfigError(f"config: {error}") from error


def load_config(path: Path | str) -> Config:
    """Read and check a configuration file.

    Raises:
        InputError: the file is missing or is not YAML.
        ConfigError: a key is unknown or a value is not accepted.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a configuration file") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no keys; expected a configuration such as config/config.yaml")
    return check_config(values)


def schema() -> dict[str, object]:
    """Return the JSON schema of the configuration, as kept in workflow/schemas/config.schema.yaml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
