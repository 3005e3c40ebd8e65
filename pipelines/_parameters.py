"""Give a pipeline the settings of its steps as parameters.

A setting is declared once, in the Config of its step, and its component repeats it (``make components``). A pipeline
exposes the settings of the components that it runs:

    @dsl.pipeline(name="example")
    @parameters(expose(ingest), expose(split, rename={"seed": "split_seed"}), defaults={"format": "csv"})
    def example(arguments):
        raw = ingest(**arguments.of(ingest))
        split(dataset=raw.outputs["dataset"], **arguments.of(split))

docs/start/parameters.md lists the parameters of every pipeline.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import docstring_parser

REQUIRED = inspect.Parameter.empty  # as a default: the parameter must be given


@dataclass(frozen=True)
class Setting:
    """A setting of a component, and the parameter of the pipeline that it becomes."""

    name: str
    parameter: inspect.Parameter
    description: str


@dataclass(frozen=True)
class Exposed:
    """The settings of a component, or of a function, that become parameters of a pipeline."""

    function: Callable[..., Any]
    settings: tuple[Setting, ...]


class Arguments:
    """The arguments of a pipeline."""

    def __init__(self, exposed: Iterable[Exposed], values: Mapping[str, Any]) -> None:
        self._arguments = {
            one.function: {setting.name: values[setting.parameter.name] for setting in one.settings} for one in exposed
        }
        self._unused = set(self._arguments)

    def of(self, component: Any) -> dict[str, Any]:
        """Return the keyword arguments for ``component``; none if the pipeline exposes none of its settings."""
        function = _function(component)
        self._unused.discard(function)
        return self._arguments.get(function, {})

    def check_used(self) -> None:
        """Raise ValueError if the pipeline exposes settings of a component that it does not run."""
        if self._unused:
            names = ", ".join(sorted(function.__name__ for function in self._unused))
            raise ValueError(f"the pipeline exposes settings of {names}, but does not use them")


def expose(component: Any, hide: Iterable[str] = (), rename: Mapping[str, str] | None = None) -> Exposed:
    """Expose the settings of ``component``, except those to hide.

    Args:
        component: A KFP component, or a function; its settings are the parameters that have a default.
        hide: Settings that keep their default, or that the pipeline passes itself.
        rename: Parameter by setting, where two components have different settings of one name.
    """
    function, hidden, names = _function(component), set(hide), dict(rename or {})
    settings = {
        name: one for name, one in inspect.signature(function).parameters.items() if one.default is not REQUIRED
    }
    if unknown := (hidden | names.keys()) - settings.keys():
        raise ValueError(f"{function.__name__} has no setting {', '.join(sorted(unknown))}")
    documented = docstring_parser.parse(inspect.getdoc(function) or "").params
    texts = {item.arg_name: " ".join((item.description or "").split()) for item in documented}
    kept = {name: one.replace(name=names.get(name, name)) for name, one in settings.items() if name not in hidden}
    return Exposed(function, tuple(Setting(name, one, texts[name]) for name, one in kept.items()))


def parameters(
    *exposed: Exposed, defaults: Mapping[str, Any] | None = None
) -> Callable[[Callable[[Arguments], None]], Callable[..., None]]:
    """Give a function that takes ``Arguments`` the signature and the docstring that ``dsl.pipeline`` reads.

    ``defaults`` are the defaults that differ from those of the components, by parameter.

    Raises:
        ValueError: two components have different defaults for one parameter, and ``defaults`` does not decide.
    """
    signature = _signature(exposed, defaults or {})
    descriptions = {one.parameter.name: one.description for part in reversed(exposed) for one in part.settings}

    def decorate(function: Callable[[Arguments], None]) -> Callable[..., None]:
        def pipeline(*values: Any) -> None:
            arguments = Arguments(exposed, signature.bind(*values).arguments)
            function(arguments)
            arguments.check_used()

        pipeline.__name__ = pipeline.__qualname__ = function.__name__
        lines = [f"    {name}: {descriptions[name]}" for name in signature.parameters]
        pipeline.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
        pipeline.__signature__ = signature  # type: ignore[attr-defined]
        return pipeline

    return decorate


def _function(component: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(component, "python_func", component)
    return function


def _signature(exposed: Iterable[Exposed], defaults: Mapping[str, Any]) -> inspect.Signature:
    """Return the parameters of all ``exposed``, each once, required ones first."""
    found: dict[str, inspect.Parameter] = {}
    for setting in (setting for one in exposed for setting in one.settings):
        name, default = setting.parameter.name, setting.parameter.default
        parameter = setting.parameter.replace(default=defaults.get(name, default))
        if found.setdefault(name, parameter) != parameter:
            raise ValueError(f"{name} is {found[name]} and {parameter}: set its default, or rename one of them")
    if unknown := defaults.keys() - found:
        raise ValueError(f"there is no parameter {', '.join(sorted(unknown))}")
    return inspect.Signature(sorted(found.values(), key=lambda one: one.default is not REQUIRED))
