"""Faulty variants, measured and judged by the real steps: the gate must reject each, with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from toolchain.artifacts.measurement import open_measurement
from toolchain.evaluate import accuracy, gate, latency, parity

pytestmark = pytest.mark.slow
WIDTH = 256  # neurons: wide enough that its time is that of the arithmetic


class Rows(CalibrationDataReader):
    """Calibration rows of one text each."""

    def __init__(self, ids: list[list[int]]) -> None:
        self.rows = iter(ids)

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return (
            None if row is None else {"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), np.int64)}
        )


def quantized(source: Path, calibration: list[list[int]]) -> Callable[[Path], None]:
    """Return what writes the static INT8 version of ``source``, its ranges taken from ``calibration``."""
    settings = {"quant_format": QuantFormat.QDQ, "op_types_to_quantize": ["MatMul"], "per_channel": True}
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": True}
    return lambda target: quantize_static(source, target, Rows(calibration), **settings, **types)


def judged(folder: Path, dataset: Path, rounds: int = 16) -> dict[str, Any]:
    """Return the verdict on the variants in ``folder``, by the steps in the pipeline's order."""
    variants = folder / "variants"
    accuracy.run(variants, dataset, folder / "accuracy", accuracy.Config(threads=1, resamples=200))
    parity.run(folder / "accuracy", folder / "parity", parity.Config(resamples=200))
    latency.run(variants, dataset, folder / "latency", latency.Config(rounds=rounds, resamples=200))
    gate.run(folder / "accuracy", folder / "parity", folder / "latency", folder / "verdict", gate.Config())
    return open_measurement(folder / "verdict", "verdict").data


def entry(verdict: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in verdict["variants"] if one["name"] == name)


@pytest.fixture(scope="module")
def words(log_odds: dict[str, float]) -> list[int]:
    return list(range(2, len(log_odds)))


def test_a_variant_calibrated_on_noise_is_rejected_next_to_a_winner(
    new_toys, dataset: Path, words: list[int], tmp_path: Path
):
    real = [np.random.default_rng(r).choice(words, 20).tolist() for r in range(40)]
    noise = [[0, 1] * 10] * 40  # padding and unknown words: without a range of values
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=WIDTH, extra=2)
        fp32 = tmp_path / "fp32.onnx"
        fp32.write_bytes((toys.writer.folder / "fp32" / "model.onnx").read_bytes())
        toys.add("lean", width=WIDTH, origin="fp32")  # equal predictions with less work
        toys.add_made("int8-noise", quantized(fp32, noise), "fp32")
        toys.add_made("int8-real", quantized(fp32, real), "fp32")
    verdict = judged(tmp_path, dataset)
    assert verdict["winner"] == "lean"
    assert entry(verdict, "int8-real")["accurate"]
    rejected = entry(verdict, "int8-noise")
    assert not rejected["accurate"]
    assert rejected["reasons"][0].startswith("is not better than always predicting ")
    assert "below the minimum of 97 %" in rejected["reasons"][1]
    assert "above the maximum of 1" in rejected["reasons"][2]


def test_weights_of_another_model_under_a_variants_name_are_rejected(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=WIDTH, extra=2)
        toys.log_odds.reverse()  # what another model learned, of another vocabulary
        toys.add("int8-dynamic", width=32, origin="fp32")
    verdict = judged(tmp_path, dataset)
    rejected = entry(verdict, "int8-dynamic")
    assert verdict["winner"] == "fp32"
    assert rejected["faster"]
    assert not rejected["accurate"]
    assert rejected["reasons"][0].startswith("is not better than always predicting ")
    assert rejected["reasons"][1].startswith("agrees with fp32 on ")
    assert "The fastest, int8-dynamic, is " in verdict["reason"]
    assert " but is not accurate: it is not better than always predicting " in verdict["reason"]


def test_an_int8_variant_with_extra_work_is_not_faster(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=WIDTH)
        toys.add("heavy", width=WIDTH, extra=4, origin="fp32")
        heavy = tmp_path / "heavy.onnx"
        heavy.write_bytes((toys.writer.folder / "heavy" / "model.onnx").read_bytes())
        toys.add_made("int8-dynamic", lambda path: quantize_dynamic(heavy, path, weight_type=QuantType.QInt8), "fp32")
    assert "MatMulInteger" in {
        node.op_type for node in onnx.load(tmp_path / "variants/int8-dynamic/model.onnx").graph.node
    }
    verdict = judged(tmp_path, dataset)
    rejected = entry(verdict, "int8-dynamic")
    assert verdict["winner"] == "fp32"
    assert not rejected["faster"]
    assert " times as fast as fp32 (interval 0." in rejected["reasons"][-1]


def test_a_variant_that_forgot_a_class_is_rejected_for_its_worst_class(
    new_toys, dataset: Path, log_odds: dict[str, float], tmp_path: Path
):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=WIDTH, extra=2)
        toys.log_odds[:] = [value + 0.25 for value in log_odds.values()]  # every word is weak evidence for "positive"
        toys.add("retrained", width=32)
    verdict = judged(tmp_path, dataset)
    assert verdict["winner"] == "fp32"
    assert any("recall of negative, its worst class," in reason for reason in entry(verdict, "retrained")["reasons"])


def test_the_same_file_under_another_name_is_accurate_but_not_faster(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=WIDTH, extra=2)
        toys.add("copy", width=WIDTH, extra=2, origin="fp32")
    verdict = judged(tmp_path, dataset, rounds=24)
    assert verdict["winner"] == "fp32"
    assert (entry(verdict, "copy")["accurate"], entry(verdict, "copy")["faster"]) == (True, False)
