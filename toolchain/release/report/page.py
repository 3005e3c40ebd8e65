"""Page: the report as one HTML file that needs no other file, no network and no script."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import IMAGE
from toolchain.artifacts.provenance import Provenance, ancestors
from toolchain.artifacts.variants import REFERENCE
from toolchain.release.report import examples, gallery, pictures
from toolchain.release.report.tradeoff import Point, tradeoff

if TYPE_CHECKING:
    from jinja2 import Environment

    from toolchain.release.report import Findings

Data = Mapping[str, Any]
HERE = Path(__file__).parent
TEMPLATE = HERE / "page.html"
STYLE_SHEET = HERE / "page.css"
CHARACTERS = 320  # of a text that is shown
PARTS = 12  # of a list: row numbers, say, of which there may be hundreds
CONFUSION_LABELS = 12  # a matrix of more classes is no picture any more
TRAINING = ("train.torch_text", "train.torch_image", "train.torch_detector")  # steps whose epochs are drawn
TOLD_ELSEWHERE = {"augment.text", *TRAINING}  # notes that have a form of their own
CLASSIFICATION_WORDS = {"accuracy": "accuracy", "slices": "Accuracy by length in tokens"}
DETECTION_WORDS = {"accuracy": "mAP50", "slices": "mAP50 by size of objects"}


def render(content: Data, found: "Findings") -> str:
    """Return the page for ``content`` (report.json) and the measurements that it was made of."""
    from markupsafe import Markup

    winner = content["verdict"]["winner"]
    drawn = {name: Markup(svg) for name, svg in _pictures(content, found).items()}
    template = _environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        style=Markup(STYLE_SHEET.read_text(encoding="utf-8")),
        pictures=drawn,
        winner=_of(content, winner),
        reference=_of(content, REFERENCE),
        confidence=found.accuracy.lineage[-1].config.get("confidence", 0.95),
        made=_day(found.verdict.lineage[-1].started),
        flips=examples.flips(winner, found),
        worst=examples.worst(winner, found),
        saliency=examples.saliency(found),
        overlays=examples.overlays(winner, found),
        sheet=_sheet(found),
        words=_words(found),
        latency=found.latency.data,
        verdict_data=found.verdict.data,
        accuracy=found.accuracy.data,
        checks=found.checks.data,
        labels=found.dataset.labels,
        told_of_data=_told_of_data(found),
        rewritten=found.dataset.notes.get("augment.text", {}).get("examples", [])[: examples.EXAMPLES],
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
        "short": lambda text: text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…",
        "capital": lambda text: text[:1].upper() + text[1:] if text.islower() else text,
        "words": lambda name: str(name).replace("_", " "),
        "told": _told,
    }
    return environment


def _pictures(content: Data, found: "Findings") -> dict[str, str]:
    """Return each picture that there are numbers for, as SVG, by name."""
    measured = found.accuracy.data["variants"]
    names = list(dict.fromkeys([content["verdict"]["winner"], REFERENCE]))
    drawn = _tradeoff(found)
    labels = found.accuracy.data["confusion_labels"]
    if len(labels) <= CONFUSION_LABELS:
        drawn |= {
            f"confusion_{place}": pictures.confusion(measured[name]["confusion"], labels, name)
            for place, name in zip(("winner", "reference"), names, strict=False)
        }
    objects = found.dataset.notes.get("data.annotations", {}).get("statistics", {})
    if objects:
        drawn |= {"balance": pictures.balance(objects["objects_by_label"]), "positions": pictures.positions(objects)}
    if all(measured[name].get("roc") and measured[name]["roc"]["points"] for name in names):
        drawn["roc"] = pictures.roc({name: measured[name]["roc"] for name in names})
    if all(measured[name].get("calibration") for name in names):
        drawn["calibration"] = pictures.calibration({name: measured[name]["calibration"] for name in names})
    if all(measured[name].get("slices") for name in names):
        drawn["slices"] = pictures.slices({name: measured[name]["slices"] for name in names}, _words(found)["accuracy"])
    epochs = _training(found).get("history", [])
    if epochs:
        drawn["history"] = pictures.history(epochs)
    return drawn


def _tradeoff(found: "Findings") -> dict[str, str]:
    verdict = found.verdict.data
    measured, timed = found.accuracy.data["variants"], found.latency.data["variants"]
    scenario, thresholds = verdict["scenario"], verdict["thresholds"]
    typical = timed[REFERENCE]["scenarios"][scenario]["p50_ms"]
    points = []
    for judged in verdict["variants"]:
        name = judged["name"]
        right, quick = measured[name]["accuracy"], timed[name]["scenarios"][scenario]
        selected = verdict["promotable"] and name == verdict["winner"]
        kind = "winner" if selected else "accurate" if judged["accurate"] else "refused"
        fast = sorted((quick["p50_ms"], typical / quick["speedup"]["high"], typical / quick["speedup"]["low"]))
        bounds = (100 * right["low"], 100 * right["high"])
        points.append(Point(name, quick["p50_ms"], (fast[0], fast[-1]), 100 * right["value"], bounds, kind))
    least = 100 * (measured[REFERENCE]["accuracy"]["value"] - thresholds["accuracy_drop"])
    most, word = typical / thresholds["ratio"], _words(found)["accuracy"]
    return {
        "tradeoff_wide": tradeoff(points, least, most, word),
        "tradeoff_narrow": tradeoff(points, least, most, word, narrow=True),
    }


def _more(name: str, found: "Findings") -> dict[str, Any]:
    """Return what the page says of a variant beside report.json's part of it."""
    right, alike = found.accuracy.data["variants"][name], found.parity.data["variants"][name]
    return {
        "accuracy_interval": right["accuracy"],
        "agreement_interval": alike["agreement"],
        "origin": alike["origin"],
        "origin_agreement": alike["origin_agreement"],
        "worst_class": right["worst_class"],
        "f1": right["f1"]["value"],
        "per_class": right["per_class"],
        "cold_start_ms": found.latency.data["variants"][name]["cold_start_ms"],
        "peak_memory_bytes": found.latency.data["variants"][name]["peak_memory_bytes"],
        "scenarios": found.latency.data["variants"][name]["scenarios"],
        "digest": found.variants.models[name].digest,
    }


def _words(found: "Findings") -> dict[str, str]:
    return DETECTION_WORDS if examples.detects(found) else CLASSIFICATION_WORDS


def _training(found: "Findings") -> dict[str, Any]:
    return next((note for step in TRAINING if (note := _note(step, found))), {})


def _told_of_data(found: "Findings") -> dict[str, Any]:
    """Return what the data's steps noted. Of annotations only what was found: formats carry their owners' names."""
    notes = {step: note for step, note in found.dataset.notes.items() if step not in TOLD_ELSEWHERE}
    if "data.annotations" in notes:
        note = notes["data.annotations"]
        checks = [
            {key: check[key] for key in ("rule", "action", "count")} for check in note["checks"] if check["count"]
        ]
        told = {"format": note["source"]["format"], "checks": checks, "findings": note["findings"]}
        notes["data.annotations"] = {**told, "tiles": note.get("tiles", {})}
    return notes


def _sheet(found: "Findings") -> dict[str, Any]:
    """Return the contact sheet of the training rows (of those there are), {} for a dataset without pictures."""
    dataset = found.dataset
    if IMAGE not in dataset.schema.names:
        return {}
    split = "train" if "train" in dataset.splits else next(iter(dataset.splits))
    jpeg, shown = gallery.contact_sheet(dataset, split)
    return {"picture": gallery.data_uri(jpeg), "split": split, "shown": shown}


def _note(step: str, found: "Findings") -> dict[str, Any]:
    """Return what ``step`` noted with the first variant that it had a hand in, {} where it noted nothing."""
    noted = (model.notes[step] for model in found.variants.models.values() if step in model.notes)
    return dict(next(noted, {}))


def _notes(found: "Findings") -> list[dict[str, Any]]:
    """Return what other steps noted with the variants: each note once, with the variants that carry it."""
    notes: list[dict[str, Any]] = []
    for name, model in found.variants.models.items():
        for step, value in model.notes.items():
            same = next((note for note in notes if note["step"] == step and note["value"] == value), None)
            if same:
                same["variants"].append(name)
            elif step not in TOLD_ELSEWHERE:
                notes.append({"step": step, "value": value, "variants": [name]})
    return notes


def _lineage(found: "Findings") -> list[dict[str, Any]]:
    """Return the way from the source's rows to the variants, a stage each."""
    variants = {model.digest: name for name, model in found.variants.models.items()}
    told: list[dict[str, Any]] = []
    for entry in ancestors(found.dataset, found.variants):
        if entry.source:
            told.append({"step": "source", "source": entry.source})
        made = variants.get(entry.digest, "the variants" if entry.kind == "variants" else f"a {entry.kind}")
        told.append({"step": entry.step, "made": made, "digest": entry.digest, "metrics": _counts(entry)})
    return told


def _counts(entry: Provenance) -> dict[str, float]:
    return dict(list(entry.metrics.items())[:4])


def _of(content: Data, name: str) -> dict[str, Any]:
    return dict(next(entry for entry in content["variants"] if entry["name"] == name))


def _day(started: str) -> str:
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


def _told(value: object) -> str:
    """Return a plain value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_told(part)}" for key, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        parts = [_told(part) for part in value]
        more = f", … ({len(parts):,} in all)" if len(parts) > PARTS else ""
        return ", ".join(parts[:PARTS]) + more
    return str(value)
