import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from toolchain.errors import DataError
from toolchain.lifecycle.request_samples import DRIFT_FORMAT, SampledVersion
from toolchain.serve.telemetry.sampling_metrics import read_verdict, sampling_text

VERSION = SampledVersion(model="reviews", model_version="3", variant="int8", digest="ab" * 32)
DRIFT = {
    "format": DRIFT_FORMAT,
    "digest": VERSION.digest,
    "checked_at": 1_700_000_000.0,
    "window": {"rows": 250},
    "has_verdict": True,
    "data_drift": True,
    "prediction_drift": False,
    "columns": [{"name": "length", "distance": 0.25}],
}


def values(content: bytes) -> dict[tuple[str, str], float]:
    samples = [sample for family in text_string_to_metric_families(content.decode()) for sample in family.samples]
    names = ("outcome", "type", "column")
    return {
        (one.name, next((one.labels[name] for name in names if name in one.labels), "")): one.value for one in samples
    }


def test_a_verdict_is_exported_with_its_distances():
    verdict = read_verdict(json.dumps(DRIFT).encode(), VERSION)
    found = values(sampling_text([(VERSION, {"written": 7}, verdict)]))
    assert found["toolchain_sampling_rows_total", "written"] == 7
    assert found["toolchain_drift_detected", "data"] == 1
    assert found["toolchain_drift_detected", "prediction"] == 0
    assert found["toolchain_drift_distance", "length"] == 0.25
    assert found["toolchain_drift_window_rows", ""] == 250


def test_without_a_verdict_only_rows_are_exported():
    assert {name for name, _ in values(sampling_text([(VERSION, {"written": 7}, None)]))} == {
        "toolchain_sampling_rows_total"
    }


@pytest.mark.parametrize("change", [{"digest": "cd" * 32}, {"format": "other"}, {"window": {}}, {"columns": [{}]}])
def test_a_damaged_verdict_is_an_error(change: dict):
    with pytest.raises(DataError, match=r"drift\.json"):
        read_verdict(json.dumps({**DRIFT, **change}).encode(), VERSION)
