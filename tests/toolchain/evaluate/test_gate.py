from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from toolchain.artifacts.measurement import new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate.gate import Config, judge, run

pytestmark = pytest.mark.machine
TASK = "text-classification"
SCENARIOS = ("batch1-fixed128", "batch8-fixed128")


@dataclass(frozen=True)
class Measured:
    """The measurements of one variant, by default of a good INT8 version of fp32."""

    origin: str = "fp32"
    agreement: float = 0.99  # with the origin, or with fp32 where there is none
    with_fp32: float | None = None  # agreement of a variant of a retrained one with fp32; None: as with the origin
    drop: float = 0.002
    class_drop: float = 0.005
    speedup: float = 1.7
    margin: float = 0.02  # of the speedup's interval
    ratio8: float = 1.0  # at batch 8
    backend: str = "onnxruntime"
    size_bytes: int = 23_000_000
    sparsity: float = 0.0
    better: int = 450  # rows that only this variant predicts correctly, not the most frequent class
    worse: int = 80  # rows that only the most frequent class predicts correctly


FP32 = Measured(origin="", agreement=1, drop=0, class_drop=0, speedup=1, margin=0, size_bytes=91_000_000)


def interval(value: float, margin: float) -> dict[str, float]:
    return {"value": value, "low": value - margin, "high": value + margin}


def baseline(better: int, worse: int) -> dict[str, Any]:
    p_value = binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
    return {"label": "positive", "share": 0.5, "better": better, "worse": worse, "p_value": p_value}


def measurements(kind: str = "avx2", rows: int = 1007, **variants: Measured) -> tuple[dict, dict, dict]:
    """Accuracy, parity and latency as the steps write them; an underscore in a name is a dash."""
    named = {"fp32": FP32} | {name.replace("_", "-"): metrics for name, metrics in variants.items()}
    accuracy = {
        name: {"accuracy": interval(0.865 - f.drop, 0.02), "origin": f.origin, "baseline": baseline(f.better, f.worse)}
        for name, f in named.items()
    }
    parity = {
        name: {
            "origin": f.origin,
            "agreement": interval(f.agreement if f.with_fp32 is None else f.with_fp32, 0.005),
            "origin_agreement": interval(f.agreement, 0.005),
            "accuracy_drop": interval(f.drop, 0.006),
            "worst_class_drop": {**interval(f.class_drop, 0.01), "label": "negative"},
        }
        for name, f in named.items()
    }
    latency = {
        name: {
            "backend": f.backend,
            "size_bytes": f.size_bytes,
            "sparsity": f.sparsity,
            "scenarios": {
                scenario: {"p50_ms": 42.8 / speedup, "speedup": interval(speedup, f.margin)}
                for scenario, speedup in zip(SCENARIOS, (f.speedup, f.ratio8), strict=True)
            },
        }
        for name, f in named.items()
    }
    processor = {"name": "AMD EPYC", "kind": kind, "instruction_sets": ["AVX2"], "cores": 2}
    return (
        {"task": TASK, "rows": rows, "variants": accuracy},
        {"task": TASK, "reference": "fp32", "rows": rows, "variants": parity},
        {"processor": processor, "scenarios": list(SCENARIOS), "variants": latency},
    )


def verdict(kind: str = "avx2", rows: int = 1007, config: Config | None = None, **variants: Measured) -> dict[str, Any]:
    return judge(*measurements(kind, rows, **variants), config or Config())


def entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in found["variants"] if one["name"] == name)


def reasons(found: dict[str, Any], name: str) -> str:
    return " | ".join(entry(found, name)["reasons"])


def test_the_fastest_accurate_variant_is_selected():
    found = verdict(int8_dynamic=Measured(), pruned=Measured(origin="", agreement=0.95, speedup=2.35))
    assert found["winner"] == "pruned"
    assert found["reason"].startswith(
        "pruned is selected: it is 2.35 times as fast as fp32 (interval 2.33 to 2.37, batch1-"
    )
    assert "agrees with fp32 on 95.0 % (interval 94.5 to 95.5) of the rows" in found["reason"]
    assert "is not selected: pruned is accurate too, and 2.35 times as fast as fp32" in reasons(found, "int8-dynamic")


def test_the_reference_is_kept_when_none_is_faster():
    found = verdict(int8_openvino=Measured(speedup=0.79, backend="openvino"))
    assert (found["winner"], entry(found, "int8-openvino")["accurate"], entry(found, "int8-openvino")["faster"]) == (
        "fp32",
        True,
        False,
    )
    assert "fp32 is kept: the other variant is not both accurate and faster" in found["reason"]
    assert "is 0.79 times as fast as fp32" in found["reason"]


def test_reports_that_int8_gains_nothing_without_vnni():
    found = verdict(int8_openvino=Measured(speedup=0.79, backend="openvino"))
    assert reasons(found, "int8-openvino").endswith(
        "is 0.79 times as fast as fp32 (interval 0.77 to 0.81, batch1-fixed128): "
        "this processor has AVX2 but no VNNI, so INT8 arithmetic gains nothing in OpenVINO"
    )


def test_does_not_blame_the_processor_where_it_can_multiply_int8():
    assert "VNNI" not in reasons(verdict("avx512-vnni", int8_openvino=Measured(speedup=0.9)), "int8-openvino")


def test_does_not_blame_the_processor_when_another_int8_variant_gains():
    found = verdict(int8_static=Measured(speedup=0.8), int8_dynamic=Measured(speedup=1.67))
    assert "VNNI" not in reasons(found, "int8-static")


def test_reports_that_operators_were_left_in_float():
    found = verdict("avx512-vnni", int8_static=Measured(speedup=0.98, size_bytes=80_000_000))
    assert "its file is 88 % of fp32's, so most operators were left in fp32" in reasons(found, "int8-static")


def test_reports_that_zeros_save_no_work():
    zeros = Measured(origin="", agreement=0.95, speedup=1.0, size_bytes=91_000_000, sparsity=0.5)
    found = verdict(pruned_unstructured=zeros)
    assert "50 % of its weights are zeros" in reasons(found, "pruned-unstructured")


def test_reports_that_the_batch_is_too_small():
    found = verdict("amx", int8_openvino=Measured(speedup=1.0, ratio8=1.9))
    assert "a batch of one row is too small for it (1.90 times at batch8-fixed128)" in reasons(found, "int8-openvino")


def test_shows_when_the_interval_does_not_clear_the_threshold():
    found = verdict(int8_dynamic=Measured(speedup=1.08, margin=0.05))
    assert not entry(found, "int8-dynamic")["faster"]
    assert "not reliably above the minimum of 1.05" in reasons(found, "int8-dynamic")


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (
            Measured(agreement=0.952),
            "agrees with fp32 on 95.2 % (interval 94.7 to 95.7) of the rows, below the minimum of 97 %",
        ),
        (
            Measured(origin="", agreement=0.8),
            "agrees with fp32 on 80.0 % (interval 79.5 to 80.5) of the rows, below the minimum of 85 %",
        ),
        (
            Measured(drop=0.023),
            "loses 2.3 points (interval 1.7 to 2.9) of accuracy against fp32, above the maximum of 1",
        ),
        (
            Measured(class_drop=0.031),
            "loses 3.1 points (interval 2.1 to 4.1) of recall of negative, its worst class, against fp32, "
            "above the maximum of 2",
        ),
    ],
)
def test_a_rejection_names_the_threshold_and_the_value(metrics: Measured, sentence: str):
    found = verdict(int8=metrics)
    assert found["winner"] == "fp32"
    assert not entry(found, "int8")["accurate"]
    assert entry(found, "int8")["reasons"][0] == sentence
    assert f"but is not accurate: it {sentence}" in found["reason"]


def test_a_quantized_variant_is_compared_with_its_origin():
    pruned = Measured(origin="", agreement=0.93, speedup=2.3)
    found = verdict(pruned=pruned, pruned_int8=Measured(origin="pruned", agreement=0.96, speedup=3.2))
    assert "agrees with pruned on 96.0 %" in reasons(found, "pruned-int8")
    assert found["winner"] == "pruned"
    assert "The fastest, pruned-int8, is 3.20 times as fast as fp32" in found["reason"]


def test_a_variant_of_a_rejected_retrained_model_is_rejected_too():
    pruned = Measured(origin="", agreement=0.727, speedup=2.3)
    converted = Measured(origin="pruned", agreement=1.0, with_fp32=0.727, speedup=3.2)
    found = verdict(pruned=pruned, pruned_openvino=converted)
    assert found["winner"] == "fp32"
    assert "agrees with fp32 on 72.7 % (interval 72.2 to 73.2) of the rows, below the minimum of 85 %" in reasons(
        found, "pruned-openvino"
    )


def test_a_variant_of_a_retrained_model_agrees_with_both():
    converted = Measured(origin="pruned", agreement=0.98, with_fp32=0.9, speedup=3.2)
    found = verdict(pruned=Measured(origin="", agreement=0.92), pruned_int8=converted)
    assert found["winner"] == "pruned-int8"
    assert "agrees with pruned on 98.0 %" in reasons(found, "pruned-int8")
    assert "agrees with fp32 on 90.0 %" in reasons(found, "pruned-int8")


def test_a_value_at_its_threshold_passes():
    exact = Measured(agreement=0.97, drop=0.3 - 0.29, class_drop=0.02)  # 0.010000000000000009
    assert entry(verdict(int8=exact), "int8")["accurate"]


def test_a_speedup_at_its_threshold_is_not_faster():
    assert not entry(verdict(int8=Measured(speedup=1.05, margin=0.0)), "int8")["faster"]


def test_a_gain_is_called_a_gain():
    found = verdict(int8=Measured(drop=-0.004))
    assert "gains 0.4 points (interval -0.2 to 1.0) of accuracy against fp32" in reasons(found, "int8")


def test_shows_when_more_rows_are_needed():
    found = verdict(int8=Measured(drop=0.008))
    assert entry(found, "int8")["accurate"]
    assert "more rows are needed to confirm a loss below 1" in reasons(found, "int8")


def test_too_few_rows_promote_nothing():
    found = verdict(rows=40, int8=Measured())
    assert found["winner"] == "fp32"
    assert entry(found, "int8")["reasons"][0] == "was measured on 40 rows, below the minimum of 100"
    assert found["reason"] == "fp32 is kept: comparing variants needs 100 test rows, and the test split has 40"
    assert found["promotable"]


BALANCED = Measured(better=0, worse=0)  # always predicts the most frequent class: 50.0 % of two equal classes
UNLEARNED = Measured(origin="", agreement=1, drop=0, class_drop=0, speedup=1, margin=0, better=50, worse=45)


@pytest.mark.parametrize("reference", [BALANCED, UNLEARNED])
def test_a_reference_no_better_than_the_most_frequent_class_cannot_be_promoted(reference: Measured):
    unlearned = Measured(better=reference.better, worse=reference.worse)
    found = verdict(fp32=reference, int8=unlearned)
    assert (found["winner"], found["promotable"], entry(found, "fp32")["accurate"]) == ("fp32", False, False)
    assert not entry(found, "int8")["accurate"]
    assert found["reason"].startswith(
        "no variant can be promoted: fp32 is not better than always predicting 'positive'"
    )
    assert entry(found, "fp32")["reasons"][0].startswith("is not better than always predicting 'positive'")


def test_the_exact_test_of_a_reference_is_shown():
    found = verdict(fp32=UNLEARNED)  # 50 of 95 or more heads: p = 0.341, as R's binom.test(50, 95, alternative="g")
    assert "against 50.0 % (exact McNemar test: p = 0.34)" in found["reason"]


def test_a_reference_without_skill_is_reported_before_few_rows():
    assert verdict(rows=40, fp32=UNLEARNED, int8=UNLEARNED)["reason"].startswith("no variant can be promoted")


def test_a_variant_better_than_the_baseline_is_promotable_without_the_reference():
    found = verdict(fp32=UNLEARNED, pruned=Measured(origin="", agreement=0.9, speedup=2.0))
    assert (found["winner"], found["promotable"]) == ("pruned", True)


@pytest.mark.parametrize(("low", "promotable"), [(0.0, False), (0.01, True)])
def test_a_detector_must_be_better_than_predicting_no_boxes(low: float, promotable: bool):
    accuracy, parity, latency = measurements(int8=Measured())
    for measured in accuracy["variants"].values():
        del measured["baseline"]
        measured["accuracy"]["low"] = low
    found = judge(accuracy | {"task": "object-detection"}, parity | {"objects": 300}, latency, Config())
    assert found["promotable"] == promotable


def test_another_scenario_may_decide():
    slow_alone = Measured(speedup=0.9, ratio8=1.8)
    assert verdict(int8=slow_alone)["winner"] == "fp32"
    found = verdict(int8=slow_alone, config=Config(scenario="batch8-fixed128"))
    assert (found["winner"], found["scenario"]) == ("int8", "batch8-fixed128")


def test_a_reference_without_other_variants_is_kept():
    assert verdict()["reason"] == "fp32 is kept: there is no other variant"


def test_the_verdict_names_processor_and_thresholds():
    found = verdict(int8=Measured())
    assert found["processor"]["kind"] == "avx2"
    assert found["thresholds"]["agreement"] == 0.97
    assert entry(found, "fp32")["reasons"] == [
        "is better than always predicting 'positive': correct on 86.5 % (interval 84.5 to 88.5) of the rows, "
        "against 50.0 % (exact McNemar test: p = 7.9e-64)",
        "is the reference: accuracy 86.5 % (interval 84.5 to 88.5) on 1,007 rows, median latency 42.8 ms",
    ]


metrics = st.builds(
    Measured,
    origin=st.sampled_from(["", "fp32"]),
    agreement=st.floats(0.85, 1),
    drop=st.floats(-0.02, 0.03),
    class_drop=st.floats(-0.02, 0.04),
    speedup=st.floats(0.5, 4),
    margin=st.floats(0, 0.1),
    ratio8=st.floats(0.5, 4),
)
several = st.dictionaries(st.sampled_from(["a", "b", "c", "int8", "pruned_int8"]), metrics, min_size=1)


@given(several)
def test_the_winner_is_accurate_and_faster_or_the_reference(variants: dict[str, Measured]):
    found = verdict(**variants)
    winner = entry(found, found["winner"])
    assert winner["accurate"]
    assert winner["faster"] or winner["name"] == "fp32"
    able = [one["name"] for one in found["variants"] if one["accurate"] and one["faster"]]
    assert (found["winner"] == "fp32") == (not able)
    assert all(
        variants[name.replace("-", "_")].speedup <= variants[found["winner"].replace("-", "_")].speedup for name in able
    )


@given(several, st.randoms())
def test_the_order_of_variants_does_not_matter(variants: dict[str, Measured], random: Any):
    shuffled = list(variants.items())
    random.shuffle(shuffled)
    one, other = verdict(**variants), verdict(**dict(shuffled))
    assert (one["winner"], one["reason"]) == (other["winner"], other["reason"])
    for found in (one, other):
        found["variants"].sort(key=lambda entry: entry["name"])
    assert one == other


@given(several, st.data())
def test_a_variant_that_gets_worse_is_never_selected_for_it(variants: dict[str, Measured], data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(variants)))
    was = variants[name]
    worse = Measured(
        origin=was.origin,
        agreement=was.agreement - data.draw(st.floats(0, 0.1)),
        drop=was.drop + data.draw(st.floats(0, 0.02)),
        class_drop=was.class_drop + data.draw(st.floats(0, 0.02)),
        speedup=was.speedup - data.draw(st.floats(0, 0.4)),
        margin=was.margin,
    )
    before, after = verdict(**variants)["winner"], verdict(**{**variants, name: worse})["winner"]
    assert before == name.replace("_", "-") or after != name.replace("_", "-")


def test_rejects_a_scenario_that_was_not_measured():
    with pytest.raises(ConfigError, match="'batch64' was not measured; choose one of batch1-fixed128, batch8-fixed128"):
        verdict(int8=Measured(), config=Config(scenario="batch64"))


@pytest.mark.parametrize("which", [1, 2])
def test_rejects_measurements_of_different_variants(which: int):
    given = list(measurements(int8=Measured()))
    del given[which]["variants"]["int8"]
    with pytest.raises(DataError, match="were not measured on the same variants: int8"):
        judge(*given, Config())


class Made:
    """An artifact that is only known by its digest."""

    lineage = ()

    def __init__(self, digest: str) -> None:
        self.digest = digest


def written(folder: Path, measured_variants: str = "one", timed_variants: str = "one") -> tuple[Path, Path, Path]:
    accuracy, parity, latency = measurements(int8=Measured())
    paths = folder / "accuracy", folder / "parity", folder / "latency"
    with new_measurement(
        paths[0], "accuracy", Work("evaluate.accuracy", None, variants=Made(measured_variants))
    ) as writer:
        writer.data = accuracy
    parent = open_measurement(paths[0], "accuracy")
    with new_measurement(paths[1], "parity", Work("evaluate.parity", None, accuracy=parent)) as writer:
        writer.data = parity
    with new_measurement(paths[2], "latency", Work("evaluate.latency", None, variants=Made(timed_variants))) as writer:
        writer.data = latency
    return paths


def test_run_writes_and_logs_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    result = run(*written(tmp_path), tmp_path / "verdict", Config())
    found = open_measurement(tmp_path / "verdict", "verdict")
    assert (result.winner, result.promoted, result.speedup) == ("int8", True, 1.7)
    assert (result.variants, result.accurate, result.faster) == (2, 1, 1)
    assert found.data["winner"] == "int8"
    assert [entry.step for entry in found.lineage][-1] == "evaluate.gate"
    assert "verdict: int8 is selected: it is 1.70 times as fast as fp32" in capsys.readouterr().out


def test_rejects_a_latency_of_other_variants(tmp_path: Path):
    with pytest.raises(DataError, match="are of different variants; measure both again"):
        run(*written(tmp_path, timed_variants="two"), tmp_path / "verdict", Config())
    assert not (tmp_path / "verdict").exists()


def test_rejects_a_parity_that_was_made_from_another_accuracy(tmp_path: Path):
    accuracy, _, latency = written(tmp_path)
    with new_measurement(tmp_path / "other", "parity", Work("evaluate.parity", None, accuracy=Made("old"))) as writer:
        writer.data = measurements(int8=Measured())[1]
    with pytest.raises(DataError, match=r"was not made from .*accuracy; measure parity again"):
        run(accuracy, tmp_path / "other", latency, tmp_path / "verdict", Config())


def test_rejects_swapped_measurements(tmp_path: Path):
    accuracy, parity, latency = written(tmp_path)
    with pytest.raises(ArtifactError, match="holds 'parity', this step needs 'accuracy'"):
        run(parity, accuracy, latency, tmp_path / "verdict", Config())


@pytest.mark.parametrize(
    "settings",
    [
        {"max_accuracy_drop": -0.01},
        {"max_accuracy_drop": float("nan")},
        {"max_class_recall_drop": 2},
        {"agreement": 97},
        {"retrained_agreement": 90},
        {"min_speedup": 0.9},
        {"min_speedup": float("inf")},
        {"min_test_rows": 0},
    ],
)
def test_rejects_settings_that_cannot_work(settings: dict[str, Any]):
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        Config(**settings)


def test_the_first_scenario_decides_unless_another_is_named():
    assert verdict(int8_dynamic=Measured())["scenario"] == "batch1-fixed128"
    assert verdict(int8_dynamic=Measured(), config=Config(scenario="batch8-fixed128"))["scenario"] == "batch8-fixed128"
