"""The `roadspeed` program: help, exit codes, one-line errors, for every command."""

import subprocess
import sys
from pathlib import Path

import pytest

from roadspeed.cli import COMMANDS, build_parser, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    example = text.split("Example:\n")[1].strip().splitlines()[0].split()
    assert example[:2] == ["roadspeed", command]
    args = build_parser(command).parse_args(example[1:])
    assert args.command == command


@pytest.mark.parametrize(
    "arguments",
    [
        ["mask", "absent.geojson", "--like", "absent.tif", "-o", "out.tif"],
        ["graph", "absent.tif", "-o", "out.gpkg"],
        ["apls", "absent.geojson", "absent.gpkg"],
        ["predict", "absent.tif", "--checkpoint", "absent.safetensors", "-o", "out"],
        ["topology", "--lscpu", "absent.txt"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_missing_file_is_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("roadspeed: error: ")
    assert "absent" in lines[0]
    assert not list(tmp_path.glob("out*"))


def test_unknown_command_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "roadspeed", "grap"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "roadspeed", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("roadspeed ")
