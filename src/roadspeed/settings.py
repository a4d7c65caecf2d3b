"""Base of the typed settings: one model a stage, in `roadspeed.<stage>.settings`, joined in `roadspeed.config`."""

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from roadspeed.errors import ConfigError


class Settings(BaseModel):
    """Settings of one stage: typed, immutable, with a description and a default for each field."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, protected_namespaces=()
    )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read settings from JSON text, as the workflow hands them to a script.

        Raises:
            ConfigError: the text is not JSON, or a key or value is not accepted.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"settings are not valid JSON ({error}); give an object such as {{}}") from error
        return cls.checked(values)

    @classmethod
    def checked(cls, values: object) -> Self:
        """Build settings from plain values.

        Raises:
            ConfigError: a key is unknown (the nearest known one is named) or a value is not accepted.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, cls)) from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem of a validation error as one line; an unknown key gets the nearest known one."""
    from difflib import get_close_matches

    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(sorted(known))}"
        return f"unknown key '{place}'; {hint}{more}"
    if problem["type"] == "missing":
        return f"key '{place}' is missing{more}"
    return f"'{place}': {problem['msg']}, found {problem['input']!r}{more}"


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that lies at `path` inside `model`, by walking its annotations."""
    from typing import get_args

    current: object = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            if field is None:
                return []
            current = field.annotation
        else:
            current = next(reversed(get_args(current)), None)
        options = [a for a in get_args(current) if isinstance(a, type) and issubclass(a, BaseModel)]
        if options and not isinstance(part, int) and type(None) in get_args(current):
            current = options[0]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
