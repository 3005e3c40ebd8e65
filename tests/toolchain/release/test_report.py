import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.provenance import Provenance
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate import platform_parity
from toolchain.hardware import emulator
from toolchain.release import report
from toolchain.release.report.cost import Prices, cost_of

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"
ENDLESS = {"meta", "link", "br", "hr", "img", "input"}  # elements that are never closed


class Page(HTMLParser):
    """A page's elements, read strictly enough to see an element that is not closed, or closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ENDLESS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is closed out of order, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def reported(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    config = report.Config(pipeline="bert_finetune", run="brave <1>", price_per_cpu_hour=0.04)
    report.run(**vars(finished), report=folder / "report", page=folder / "kfp" / "page", config=config)
    return folder


@pytest.fixture(scope="module")
def html(reported: Path) -> str:
    return (reported / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def content(reported: Path) -> dict[str, Any]:
    return dict(json.loads((reported / "report" / "report.json").read_text(encoding="utf-8")))


def test_a_model_without_a_wrong_prediction_has_a_report(finish: Callable[..., Any], tmp_path: Path):
    perfect = finish(separation=100.0)
    report.run(**vars(perfect), report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    variants = json.loads((tmp_path / "report" / "report.json").read_text())["variants"]
    assert {variant["accuracy"] for variant in variants} == {1.0}
    assert "Wrong predictions" not in Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text


def test_report_json_is_what_its_schema_specifies(content: dict[str, Any]):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)


def test_report_json_holds_the_numbers_that_were_measured(content: dict[str, Any], finished: Any):
    accuracy, parity, latency, verdict = (
        open_measurement(getattr(finished, kind), kind).data for kind in ("accuracy", "parity", "latency", "verdict")
    )
    assert content["verdict"] == {"winner": "pruned-int8-dynamic", "promotable": True, "reason": verdict["reason"]}
    assert [entry["name"] for entry in content["variants"]] == [entry["name"] for entry in verdict["variants"]]
    for entry in content["variants"]:
        right, alike = accuracy["variants"][entry["name"]], parity["variants"][entry["name"]]
        quick = latency["variants"][entry["name"]]["scenarios"]["batch1-fixed128"]
        assert entry["accuracy"] == right["accuracy"]["value"]
        assert entry["agreement"] == alike["agreement"]["value"]
        assert (entry["p50_ms"], entry["p95_ms"]) == (quick["p50_ms"], quick["p95_ms"])
        assert [entry["speedup_low"], entry["speedup_high"]] == [quick["speedup"]["low"], quick["speedup"]["high"]]
    assert content["dataset"]["rows"] == {"train": 500, "validation": 100, "test": 600}
    assert [entry["rows"] for entry in content["dataset"]["dropped"]] == [533, 17]


def test_the_measurement_and_the_kubeflow_page_hold_the_same(reported: Path, content: dict[str, Any], html: str):
    assert open_measurement(reported / "report", "report").data == content
    assert (reported / "kfp" / "page").read_text(encoding="utf-8") == html


def test_the_page_is_well_formed_and_needs_nothing_but_itself(html: str):
    page = Page(html)
    assert page.open == []
    assert not [tag for tag, _ in page.found if tag in {"script", "img", "iframe", "object", "embed"}]
    links = [attrs.get("href") or "" for tag, attrs in page.found if tag in {"a", "link"}]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in html
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    assert len(html.encode()) < 1_000_000


def test_no_two_elements_of_the_page_have_one_id(html: str):
    ids = [attrs["id"] for _, attrs in Page(html).found if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert set(targets) <= set(ids)


def test_the_verdict_comes_first_and_every_variant_is_reported(html: str, content: dict[str, Any]):
    page = Page(html)
    assert [attrs["id"] for tag, attrs in page.found if tag == "section"] == ["verdict"]
    assert "pruned-int8-dynamic is accurate and 3.29× as fast" in page.text
    assert page.text.index("Verdict for avx2") < page.text.index("Accuracy against latency")
    for entry in content["variants"]:
        assert all(reason in page.text for reason in entry["reasons"])


@pytest.mark.parametrize(
    "words",
    [
        "label is missing", "row 4: neither good nor bad",  # what was dropped
        "Augmented texts", "synonym 1",
        "no text is in two splits",
        "Notes of the data steps", "café",
        "structured pruning removes rows",  # pruning's own note
        "86.2 %", "4,210",  # training
        "samples/movie_reviews.csv.gz", "10,605",  # the source
        "AMD EPYC 7B13", "onnxruntime", "1.32.0",
        "evaluate.gate", "USD",
        "Confusion, pruned-int8-dynamic", "Calibration", "ROC", "Accuracy by length",
        "batch8-real",
        "Predictions on arm64", "1 of 1 recorded rows have the same label",
        "QEMU 7.2 as a neoverse-n1 (ARM Neoverse-N1, neon-dotprod)",
    ],
)  # fmt: skip
def test_the_page_is_complete(html: str, words: str):
    assert words in Page(html).text


def test_where_no_other_architecture_was_tried_the_page_gives_the_reason(
    finish: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    places = dict(vars(finish(("fp32", "int8-dynamic"))))
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")
    places["platform_parity"] = tmp_path / "elsewhere"
    inputs = places["variants"], places["accuracy"], places["verdict"]
    platform_parity.run(*inputs, places["platform_parity"], platform_parity.Config(environment="none/environment.json"))
    report.run(**places, report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    text = Page((tmp_path / "page").read_text(encoding="utf-8")).text
    assert "Not run: there is no arm64 Python at none: make arm64 makes one." in text
    jsonschema.validate(open_measurement(tmp_path / "report", "report").data, json.loads(SCHEMA.read_text()))


def test_what_rows_hold_is_shown_and_never_run(html: str):
    assert '<script>alert("row")' not in html
    assert '<script>alert("row")</script> & <b>bold</b>' in Page(html).text
    assert "brave <1>" in Page(html).text


def test_every_image_has_a_description(html: str):
    figures = [attrs for tag, attrs in Page(html).found if tag == "figure"]
    assert len(figures) >= 7
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 10 for attrs in figures)


def test_images_take_all_their_colours_from_the_page(html: str):
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.findall(r"(?:fill|stroke): #(?!ffffff)[0-9a-f]{3,6}", drawn)
    assert {"var(--ink)", "var(--accent)", "var(--warn)"} <= set(re.findall(r"var\(--\w+\)", drawn))


def test_the_same_measurements_make_the_same_page(finished: Any, reported: Path, tmp_path: Path):
    config = report.Config(pipeline="bert_finetune", run="brave <1>", price_per_cpu_hour=0.04)
    report.run(**vars(finished), report=tmp_path / "report", page=tmp_path / "page", config=config)
    digests = [open_measurement(place / "report", "report").digest for place in (reported, tmp_path)]
    assert digests[0] == digests[1]


def test_class_names_may_hold_anything(finish: Callable[..., Any], tmp_path: Path):
    labels = ("$5 <b>", "a & b_{c} 'quoted' \"twice\"")
    finished = finish(names=("fp32", "int8-dynamic"), labels=labels)
    report.run(**vars(finished), report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    page = Page((tmp_path / "page").read_text(encoding="utf-8"))
    assert page.open == []
    assert all(label in page.text for label in labels)


def test_when_nothing_wins_fp32_stays_and_the_page_logs_it(finish: Callable[..., Any], tmp_path: Path):
    finished = finish(names=("fp32", "int8-openvino"))
    result = report.run(**vars(finished), report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    assert result.winner == "fp32"
    page = Page((tmp_path / "page").read_text(encoding="utf-8"))
    assert "fp32 is kept" in page.text
    assert "this processor has AVX2 but no VNNI" in page.text


def test_without_a_price_no_money_is_named(finish: Callable[..., Any], tmp_path: Path):
    finished = finish(names=("fp32", "int8-dynamic"))
    report.run(**vars(finished), report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["cost"]["money"] is None
    assert "USD" not in Page((tmp_path / "page").read_text()).text
    jsonschema.validate(content, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)


def test_rejects_measurements_of_other_variants(finished: Any, finish: Callable[..., Any], tmp_path: Path):
    other = finish(names=("fp32", "int8-dynamic"))
    for kind, says in (("variants", "does not judge these variants"), ("latency", "was not made from")):
        mixed = {**vars(finished), kind: getattr(other, kind)}
        with pytest.raises(DataError, match=says):
            report.run(**mixed, report=tmp_path / "report", page=tmp_path / "page", config=report.Config())
    assert not list(tmp_path.iterdir())


def test_rejects_a_measurement_of_another_kind(finished: Any, tmp_path: Path):
    swapped = {**vars(finished), "parity": finished.accuracy}
    with pytest.raises(ArtifactError, match="holds 'accuracy', this step needs 'parity'"):
        report.run(**swapped, report=tmp_path / "report", page=tmp_path / "page", config=report.Config())


@pytest.mark.parametrize(
    "wrong",
    [{"price_per_cpu_hour": -1.0}, {"price_per_gpu_hour": float("nan")}, {"currency": " "}],
)
def test_rejects_prices_that_cannot_be(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        report.Config(**wrong)


def entry(step: str, started: str, seconds: float, cpu: float) -> Provenance:
    return Provenance(
        step=step, kind="model", digest="", parents={}, config={}, started=started, seconds=seconds, cpu_seconds=cpu
    )


def test_what_ran_inside_a_longer_piece_of_the_same_step_is_not_counted_twice():
    lineage = [
        entry("optimize.quantize", "2026-11-24T10:00:01+00:00", 5.0, 9.0),
        entry("optimize.quantize", "2026-11-24T10:00:06+00:00", 4.0, 7.0),
        entry("optimize.quantize", "2026-11-24T10:00:00+00:00", 12.0, 20.0),  # the whole
        entry("optimize.quantize", "2026-11-24T11:00:00+00:00", 2.0, 3.0),  # another time
        entry("data.clean", "2026-11-24T09:00:00+00:00", 1.0, 1.0),
    ]
    cost = cost_of(lineage, Prices(3600.0, 0.0, "EUR"))
    assert [(step["step"], step["seconds"], step["cpu_seconds"]) for step in cost["steps"]] == [
        ("data.clean", 1.0, 1.0),
        ("optimize.quantize", 14.0, 23.0),
    ]
    assert (cost["cpu_seconds"], cost["money"]) == (24.0, 24.0)  # one a second


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.floats(0, 30), st.floats(0, 60)), max_size=8))
def test_a_total_is_the_sum_of_its_steps_and_never_more_than_all_entries(entries: list[tuple[str, int, float, float]]):
    lineage = [entry(step, f"2026-11-24T10:00:{at:02d}+00:00", seconds, cpu) for step, at, seconds, cpu in entries]
    cost = cost_of(lineage, Prices(1.0, 1.0, "USD"))
    assert cost["cpu_seconds"] == pytest.approx(sum(step["cpu_seconds"] for step in cost["steps"]), abs=0.01)
    assert cost["cpu_seconds"] <= sum(cpu for *_, cpu in entries) + 0.01
    assert {step["step"] for step in cost["steps"]} == {step for step, *_ in entries}


def test_the_step_starts_without_what_only_drawing_needs():
    code = "import sys, toolchain.release.report as r; r.Config(); print({'matplotlib', 'jinja2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
