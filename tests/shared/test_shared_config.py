"""The configuration: checked, explained, in step with its files."""

from pathlib import Path

import pytest
import yaml

from roadspeed.config import check_config, load_config
from roadspeed.configfile import render_config, render_schema
from roadspeed.errors import ConfigError, InputError

ROOT = Path(__file__).resolve().parents[2]
CITY = {"cities": {"a": {"train": [{"key": "a.tar.gz"}]}}}


def test_config_file_and_schema_are_in_step_with_the_settings() -> None:
    path = ROOT / "config" / "config.yaml"
    remedy = "run: python -m roadspeed.configfile"
    assert path.read_text(encoding="utf-8") == render_config(load_config(path)), remedy
    assert (ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8") == render_schema(), (
        remedy
    )


def test_config_file_has_the_defaults() -> None:
    given = load_config(ROOT / "config" / "config.yaml")
    assert given.model_copy(update={"cities": {}, "run": "baseline"}) == check_config(CITY).model_copy(
        update={"cities": {}, "run": "baseline"}
    )


def test_real_study_has_all_cities_of_spacenet_3_and_5() -> None:
    config = load_config(ROOT / "config" / "config.yaml")
    assert sorted(config.cities) == ["khartoum", "moscow", "mumbai", "paris", "san_juan", "shanghai", "vegas"]
    assert len(list(config.splits())) == 13
    assert config.labelled == ["vegas", "paris", "shanghai", "khartoum", "moscow", "mumbai"]


def test_every_key_is_described() -> None:
    def check(schema: dict[str, object], path: str) -> None:
        for name, field in schema.get("properties", {}).items():  # type: ignore[attr-defined]
            assert field.get("description"), f"{path}.{name} has no description"

    schema = yaml.safe_load(render_schema())
    check(schema, "")
    for name, part in schema["$defs"].items():
        check(part, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard": 2}, "unknown key 'shard'; did you mean 'shards'?"),
        ({"train": {"epoch": 2}}, "unknown key 'train.epoch'; did you mean 'epochs'?"),
        ({"prepare": {"masks": {"half_width": 2}}}, "did you mean 'half_width_m'?"),
        ({"cities": {"a": {"trian": []}}}, "unknown key 'cities.a.trian'; did you mean 'train'?"),
        ({"cities": {"A b": {"train": [{"key": "x"}]}}}, "small letters"),
        ({"cities": {}}, "no city is given"),
        ({"cities": {"a": {"use": "evaluate", "train": [{"key": "x"}]}}}, "nothing to learn from"),
        ({"folds": [0, 9]}, "different numbers from 0 to 4"),
        ({"shards": "many"}, "'shards': .* found 'many'"),
        ({"run": "../x"}, "letters, digits"),
        ({"speed_bins": {"upper_mph": [10, 5], "value_mph": [5, 5]}}, "must be positive and rise"),
    ],
)
def test_wrong_values_are_one_clear_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_config(CITY | change)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not YAML"):
        load_config(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("text")
    with pytest.raises(InputError, match="holds no keys"):
        load_config(tmp_path / "a.yaml")
