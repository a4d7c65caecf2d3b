"""The configuration as files: config.yaml with every key explained, and its JSON schema.

Both are made from the typed settings, so neither can fall behind: `python -m roadspeed.configfile` rewrites
them. Of config/config.yaml it keeps the run's name and the cities; all else gets the default.
"""

import json
import sys
import textwrap
from pathlib import Path

import yaml

from roadspeed.config import City, Config, check_config, schema
from roadspeed.files import write_text
from roadspeed.logs import run_main
from roadspeed.settings import Settings

CONFIG_FILE = Path("config/config.yaml")
SCHEMA_FILE = Path("workflow/schemas/config.schema.yaml")
_WIDTH = 110
_HEADER = """\
# The real study: SpaceNet 3 and 5 (146 GiB of tarballs). Run it with: snakemake --cores 56
# Every key is here with its default and its meaning; a file of your own needs only what differs:
#   snakemake --cores 56 --configfile my.yaml
# Threads, memory and run times are not set here but in profiles/ or with --set-threads, --set-resources.
# yaml-language-server: $schema=../workflow/schemas/config.schema.yaml
"""


def render_config(config: Config) -> str:
    """Return a configuration as YAML text with the description of each key above it."""
    return _HEADER + "\n".join(_section(config, 0)) + "\n"


def render_schema() -> str:
    """Return the JSON schema of the configuration as YAML text."""
    return "# Made from the typed settings by: python -m roadspeed.configfile\n" + yaml.safe_dump(
        schema(), sort_keys=False, allow_unicode=True, width=_WIDTH
    )


def _section(settings: Settings, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if depth == 0:
            lines.append("")
        text = " ".join((field.description or "").split())
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if isinstance(value, Settings):
            lines += [f"{indent}{name}:", *_section(value, depth + 1)]
        elif isinstance(value, dict):
            lines.append(f"{indent}{name}:")
            for key, item in value.items():
                lines += [f"{indent}  {key}:", *_city(item, depth + 2)]
        else:
            lines.append(f"{indent}{name}: {_flow(value)}")
    return lines


def _city(city: City, depth: int) -> list[str]:
    plain = city.model_dump(mode="json", exclude_defaults=True)
    plain = {"use": city.use, **plain}
    text = yaml.safe_dump(plain, sort_keys=False, width=1000)
    return textwrap.indent(text, "  " * depth).rstrip("\n").split("\n")


def _flow(value: object) -> str:
    plain = json.loads(json.dumps(value))
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _main() -> None:
    values = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    write_text(CONFIG_FILE, render_config(check_config({"run": values["run"], "cities": values["cities"]})))
    write_text(SCHEMA_FILE, render_schema())


if __name__ == "__main__":
    sys.exit(run_main(_main))
