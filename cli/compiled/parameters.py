"""What a person gives on the command line, checked against what the pipeline takes."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cli.compiled.catalog import suggestion
from cli.compiled.spec import Parameter
from cli.yaml_files import read_documents
from toolchain.errors import ConfigError
from toolchain.json_text import loads

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MAX_INTEGER = 2**53  # Kubeflow Pipelines carries numbers as doubles, which are exact up to here
MAX_NESTING = 32  # lists and objects in each other; protobuf, which carries them, has a limit of 100
WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a JSON list",
    dict: "a JSON object",
}


def gather(given: Iterable[str], file: Path | None, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the value of every parameter: from ``given`` ("KEY=VALUE"), else ``file`` (YAML), else its default.

    Raises:
        ConfigError: a name is unknown, a value is of another kind, or a required one is missing.
    """
    values = {name: _typed(_known(name, known), value) for name, value in _from_file(file).items()}
    for pair in given:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"-p takes KEY=VALUE, got {pair!r}")
        values[name] = _parsed(_known(name, known), text)
    return _with_defaults(values, known)


def complete(given: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the value of every parameter: from ``given``, else its default.

    Raises:
        ConfigError: as ``gather``, with one line for each error in ``given``.
    """
    values: dict[str, Any] = {}
    errors: list[str] = []
    for name, value in given.items():
        try:
            values[name] = _typed(_known(name, known), value)
        except ConfigError as error:
            errors.append(str(error))
    if errors:
        raise ConfigError("\n".join(errors))
    return _with_defaults(values, known)


def name_parameters(message: str, parameters: Mapping[str, str]) -> str:
    """Return ``message`` of a step with the pipeline's parameter behind each setting that it names otherwise.

    Args:
        message: Such as "method is 'x'; choose ..." or "... set method".
        parameters: The pipeline's parameter by the step's setting.
    """
    for setting, parameter in parameters.items():
        named = re.compile(rf"\bset {re.escape(setting)}\b|\b{re.escape(setting)}\b(?= is |=)")
        if setting != parameter and (found := named.search(message)):
            message = f"{message[: found.end()]} (parameter {parameter}){message[found.end() :]}"
    return message


def _with_defaults(given: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    values = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    missing = [name for name, parameter in known.items() if parameter.required and values[name] is None]
    if missing:
        raise ConfigError(f"no value for {', '.join(missing)}; give it with -p {missing[0]}=..., or in the file")
    return values


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    documents = read_documents(file)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ConfigError(f"{file} must hold one parameter per line, such as epochs: 2, in one document")
    return documents[0]


def _known(name: object, known: Mapping[str, Parameter]) -> Parameter:
    text = str(name)
    if text not in known:
        raise ConfigError(
            f"there is no parameter {text!r}{suggestion(text, list(known))} (there are {', '.join(known)})"
        )
    return known[text]


def _parsed(parameter: Parameter, text: str) -> Any:
    try:
        if parameter.value_type is bool:
            return TRUTHS[text.lower()]
        if parameter.value_type in (list, dict):
            return _typed(parameter, loads(text))
        return _typed(parameter, parameter.value_type(text))
    except (KeyError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{parameter.name} takes {WORDS[parameter.value_type]}, got {text!r}{_hint(parameter, text)}"
        ) from error


def _hint(parameter: Parameter, text: str) -> str:
    """Return how to quote JSON whose quotation marks a shell, or make's PARAMS, has taken; "" for other faults."""
    if parameter.value_type not in (list, dict) or '"' in text or not re.search("[A-Za-z]", text):
        return ""
    pair = f"{parameter.name}=..."
    return f"; its quotation marks are lost: write -p '{pair}', or a line of a file for --params FILE.yaml"


def _typed(parameter: Parameter, value: Any) -> Any:
    if fault := _fault(value):
        raise ConfigError(f"{parameter.name} is not valid: {fault}")
    whole = isinstance(value, int) and not isinstance(value, bool)
    if parameter.value_type is float and whole:
        return float(value)
    if not isinstance(value, parameter.value_type) or (parameter.value_type is int and not whole):
        raise ConfigError(f"{parameter.name} takes {WORDS[parameter.value_type]}, got {value!r}")
    return value


def _fault(value: Any, level: int = 0) -> str:
    """Return why ``value`` cannot be sent to a step as JSON; "" if it can."""
    match value:
        case str():
            return "" if _is_unicode(value) else f"{value!r} is not UTF-8 text"
        case bool() | None:
            return ""
        case int():
            return (
                ""
                if abs(value) <= MAX_INTEGER
                else ("a whole number is beyond 2^53, and Kubeflow Pipelines carries numbers as doubles")
            )
        case float():
            return "" if math.isfinite(value) else f"{value} is not a finite number"
        case list() | dict() if level == MAX_NESTING:
            return f"it has more than {MAX_NESTING} levels of lists and objects"
        case list():
            return next(filter(None, (_fault(item, level + 1) for item in value)), "")
        case dict():
            return next(filter(None, (_fault_of_item(key, item, level) for key, item in value.items())), "")
    return f"{str(value)!r} is a {type(value).__name__}, which JSON does not have; quote it if it is text"


def _fault_of_item(key: object, item: Any, level: int) -> str:
    if not isinstance(key, str):
        return f"its key {key!r} is not text: quote it"
    return _fault(key) or _fault(item, level + 1)


def _is_unicode(text: str) -> bool:
    """Return whether ``text`` can be encoded; a byte of a command line that is not UTF-8 is half of a pair in it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
