"""Render the report as one self-contained HTML file: no other file, no network, no script."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import IMAGE
from toolchain.artifacts.provenance import Provenance, ancestors
from toolchain.artifacts.variants import REFERENCE
from toolchain.inference.tasks import TASKS, MetricNames
from toolchain.release.report import examples, gallery, plots
from toolchain.release.report.tradeoff import Point, tradeoff

if TYPE_CHECKING:
    from jinja2 import Environment

    from toolchain.release.report import Findings

Data = Mapping[str, Any]
TEMPLATE, STYLE_SHEET = (Path(__file__).parent / name for name in ("page.html", "page.css"))
MAX_TEXT_CHARACTERS = 320
MAX_LIST_ITEMS = 12  # of row numbers, for example, of which there may be hundreds
MAX_CONFUSION_CLASSES = 12  # a plot of more classes is unreadable
TRAINING = ("train.torch_text", "train.torch_image", "train.torch_detector")  # steps whose epochs are plotted
OWN_SECTION = {"augment.text", *TRAINING}  # steps whose notes have a section of their own


def render(content: Data, found: "Findings") -> str:
    """Return the page for ``content`` (report.json) and the inputs that it was made from."""
    from markupsafe import Markup

    winner = content["verdict"]["winner"]
    drawn = {name: Markup(svg) for name, svg in _plots(content, found).items()}
    template = _environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        style=Markup(STYLE_SHEET.read_text(encoding="utf-8")),
        plots=drawn,
        winner=_of(content, winner),
        reference=_of(content, REFERENCE),
        confidence=found.accuracy.lineage[-1].config.get("confidence", 0.95),
        created=_time(found.verdict.lineage[-1].started),
        flips=examples.flips(winner, found),
        worst=examples.worst(winner, found),
        saliency=examples.saliency(found),
        overlays=examples.overlays(winner, found),
        sheet=_sheet(found),
        terms=_terms(found),
        latency=found.latency.data,
        verdict_data=found.verdict.data,
        accuracy=found.accuracy.data,
        checks=found.checks.data,
        labels=found.dataset.labels,
        data_notes=_data_notes(found),
        augmented=found.dataset.notes.get("augment.text", {}).get("examples", [])[: examples.MAX_TEXTS],
        training=_training(found),
        notes=_notes(found),
        lineage=_lineage(found),
        **{**content, "variants": [{**entry, **_more(entry["name"], found)} for entry in content["variants"]]},
    )


def _environment() -> "Environment":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.tests["deep"] = _is_deep
    environment.filters |= {
        "percent": _percent,
        "number": lambda value: f"{value:,}" if isinstance(value, int) else f"{value:,.4g}",
        "brief": lambda value: f"{value:.1f}" if value < 100 else f"{value:,.0f}",
        "size": _size,
        "duration": _duration,
        "shortened": lambda text: text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…",
        "capitalized": lambda text: text[:1].upper() + text[1:] if text.islower() else text,
        "spaced": lambda name: str(name).replace("_", " "),
        "plain": _plain,
    }
    return environment


def _plots(content: Data, found: "Findings") -> dict[str, str]:
    """Return each plot that there are numbers for, as SVG, by name."""
    measured = found.accuracy.data["variants"]
    names = list(dict.fromkeys([content["verdict"]["winner"], REFERENCE]))

    def of_both(key: str) -> dict[str, Any]:
        """Return the numbers ``key`` of the winner and the reference, {} unless both have them."""
        numbers = {name: measured[name].get(key) for name in names}
        return numbers if all(numbers.values()) else {}

    drawn = _tradeoff(found) | _confusion_plots(found, names) | _object_plots(found)
    if (curves := of_both("roc")) and all(curve["points"] for curve in curves.values()):
        drawn["roc"] = plots.roc(curves)
    if calibrations := of_both("calibration"):
        drawn["calibration"] = plots.calibration(calibrations)
    if slices := of_both("slices"):
        drawn["slices"] = plots.slices(slices, _terms(found).accuracy)
    if epochs := _training(found).get("history", []):
        drawn["history"] = plots.history(epochs)
    return drawn


def _confusion_plots(found: "Findings", names: list[str]) -> dict[str, str]:
    labels, measured = found.accuracy.data["confusion_labels"], found.accuracy.data["variants"]
    if len(labels) > MAX_CONFUSION_CLASSES:
        return {}
    return {
        f"confusion_{role}": plots.confusion(measured[name]["confusion"], labels, name)
        for role, name in zip(("winner", "reference"), names, strict=False)
    }


def _object_plots(found: "Findings") -> dict[str, str]:
    objects = found.dataset.notes.get("data.annotations", {}).get("statistics", {})
    if not objects:
        return {}
    return {"balance": plots.balance(objects["objects_by_label"]), "positions": plots.positions(objects)}


def _tradeoff(found: "Findings") -> dict[str, str]:
    verdict, thresholds = found.verdict.data, found.verdict.data["thresholds"]
    points = [_point(judged, found) for judged in verdict["variants"]]
    reference = found.accuracy.data["variants"][REFERENCE]["accuracy"]["value"]
    min_accuracy = 100 * (reference - thresholds["max_accuracy_drop"])
    max_milliseconds, metric = _reference_ms(found) / thresholds["min_speedup"], _terms(found).accuracy
    return {
        "tradeoff_wide": tradeoff(points, min_accuracy, max_milliseconds, metric),
        "tradeoff_narrow": tradeoff(points, min_accuracy, max_milliseconds, metric, narrow=True),
    }


def _reference_ms(found: "Findings") -> float:
    """Return the reference's median latency in the scenario that decides."""
    scenarios = found.latency.data["variants"][REFERENCE]["scenarios"]
    return float(scenarios[found.verdict.data["scenario"]]["p50_ms"])


def _point(judged: Data, found: "Findings") -> Point:
    verdict, name = found.verdict.data, judged["name"]
    accuracy = found.accuracy.data["variants"][name]["accuracy"]
    timed = found.latency.data["variants"][name]["scenarios"][verdict["scenario"]]
    selected = verdict["promotable"] and name == verdict["winner"]
    status = "winner" if selected else "accurate" if judged["accurate"] else "rejected"
    bounds = [_reference_ms(found) / timed["speedup"][bound] for bound in ("high", "low")]
    milliseconds = sorted((timed["p50_ms"], *bounds))
    return Point(
        name=name,
        milliseconds=timed["p50_ms"],
        milliseconds_bounds=(milliseconds[0], milliseconds[-1]),
        accuracy=100 * accuracy["value"],
        accuracy_bounds=(100 * accuracy["low"], 100 * accuracy["high"]),
        status=status,
    )


def _more(name: str, found: "Findings") -> dict[str, Any]:
    """Return what the page shows of a variant beyond report.json."""
    accuracy, parity = found.accuracy.data["variants"][name], found.parity.data["variants"][name]
    latency = found.latency.data["variants"][name]
    return {
        "accuracy_interval": accuracy["accuracy"],
        "agreement_interval": parity["agreement"],
        "origin": parity["origin"],
        "origin_agreement": parity["origin_agreement"],
        "worst_class": accuracy["worst_class"],
        "f1": accuracy["f1"]["value"],
        "per_class": accuracy["per_class"],
        "cold_start_ms": latency["cold_start_ms"],
        "peak_memory_bytes": latency["peak_memory_bytes"],
        "scenarios": latency["scenarios"],
        "digest": found.variants.models[name].digest,
    }


def _terms(found: "Findings") -> MetricNames:
    return TASKS[found.accuracy.data["task"]].metrics


def _training(found: "Findings") -> dict[str, Any]:
    return next((note for step in TRAINING if (note := _note(step, found))), {})


def _data_notes(found: "Findings") -> dict[str, Any]:
    """Return the notes of the data steps. Of annotations only the findings: formats contain their owners' names."""
    notes = {step: note for step, note in found.dataset.notes.items() if step not in OWN_SECTION}
    if "data.annotations" in notes:
        note = notes["data.annotations"]
        checks = [
            {key: check[key] for key in ("rule", "action", "count")} for check in note["checks"] if check["count"]
        ]
        kept = {"format": note["source"]["format"], "checks": checks, "findings": note["findings"]}
        notes["data.annotations"] = {**kept, "tiles": note.get("tiles", {})}
    return notes


def _sheet(found: "Findings") -> dict[str, Any]:
    """Return the contact sheet of the training rows (else of another split), {} for a dataset without images."""
    dataset = found.dataset
    if IMAGE not in dataset.schema.names:
        return {}
    split = "train" if "train" in dataset.splits else next(iter(dataset.splits))
    jpeg, shown = gallery.contact_sheet(dataset, split)
    return {"image": gallery.data_uri(jpeg), "split": split, "shown": shown}


def _note(step: str, found: "Findings") -> dict[str, Any]:
    """Return the note of ``step`` in the first variant that has one, {} without one."""
    noted = (model.notes[step] for model in found.variants.models.values() if step in model.notes)
    return dict(next(noted, {}))


def _notes(found: "Findings") -> list[dict[str, Any]]:
    """Return the other notes of the variants: each once, with the names of the variants that have it."""
    notes: list[dict[str, Any]] = []
    for name, model in found.variants.models.items():
        for step, value in model.notes.items():
            same = next((note for note in notes if note["step"] == step and note["value"] == value), None)
            if same:
                same["variants"].append(name)
            elif step not in OWN_SECTION:
                notes.append({"step": step, "value": value, "variants": [name]})
    return notes


def _lineage(found: "Findings") -> list[dict[str, Any]]:
    """Return the steps from the source rows to the variants."""
    variants = {model.digest: name for name, model in found.variants.models.items()}
    steps: list[dict[str, Any]] = []
    for entry in ancestors(found.dataset, found.variants):
        if entry.source:
            steps.append({"step": "source", "source": entry.source})
        made = variants.get(entry.digest, "the variants" if entry.kind == "variants" else f"a {entry.kind}")
        steps.append({"step": entry.step, "made": made, "digest": entry.digest, "metrics": _counts(entry)})
    return steps


def _counts(entry: Provenance) -> dict[str, float]:
    return dict(list(entry.metrics.items())[:4])


def _of(content: Data, name: str) -> dict[str, Any]:
    return dict(next(entry for entry in content["variants"] if entry["name"] == name))


def _time(started: str) -> str:
    return f"{datetime.fromisoformat(started):%-d %B %Y, %H:%M} UTC" if started else ""


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _size(count: float) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _is_deep(value: Mapping[str, object]) -> bool:
    return any(isinstance(part, Mapping | list) for part in value.values())


def _plain(value: object) -> str:
    """Return a value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_plain(part)}" for key, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        parts = [_plain(part) for part in value]
        more = f", … ({len(parts):,} in all)" if len(parts) > MAX_LIST_ITEMS else ""
        return ", ".join(parts[:MAX_LIST_ITEMS]) + more
    return str(value)
