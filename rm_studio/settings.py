"""Frozen models of settings, and what is said of a value that does not fit."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rm_studio.errors import StudioError

# pydantic's own sentences speak to programmers.
_RULES = {
    "string_too_short": "must not be empty",
    "string_too_long": "is too long: {max_length} characters at most",
    "too_short": "must not be empty",
    "too_long": "has too many lines: {max_length} at most",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must not be empty",
    "less_than": "must be less than {lt}",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
}


class Frozen(BaseModel):
    """A value: compared by content, never changed in place."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_settings(model: type[BaseModel], values: dict[str, Any]) -> Any:
    """Build ``model`` from ``values``.

    Raises:
        StudioError: naming the first field that does not fit, by its label, and why.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0] if first["loc"] else first.get("ctx", {}).get("field", ""))
        if name not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise StudioError(f"There is no setting called “{name}”. The settings are: {known}.") from error
        label = model.model_fields[name].title or name
        rule = _RULES.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
        raise StudioError(f"“{label}” {rule}.") from error
