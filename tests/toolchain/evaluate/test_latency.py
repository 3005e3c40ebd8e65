import gc
import os
from pathlib import Path

import numpy as np
import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.measurement import open_measurement
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate.latency import Config, compare, pinned, run, sample_values, time_interleaved
from toolchain.frameworks.length_batches import pad
from toolchain.metrics.bootstrap import Bootstrap

QUICK = Config(rounds=8, resamples=200)


class Recorder:
    """A session that notes who was called, with what, and whether garbage could be collected."""

    def __init__(self, name: str, calls: list[tuple[str, int, bool]]) -> None:
        self.name, self.calls = name, calls

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        self.calls.append((self.name, feeds["input_ids"].shape[1], gc.isenabled()))
        return np.zeros((1, 2), np.float32)


def turns(lengths: list[int], seconds: float = 60.0, seed: int = 0):
    calls: list[tuple[str, int, bool]] = []
    sessions = {name: Recorder(name, calls) for name in "abc"}
    times = time_interleaved(sessions, [pad([[1] * length]) for length in lengths], seconds, seed)
    return times, calls


def test_all_variants_predict_the_same_request_before_the_next_comes():
    _, calls = turns([3, 5, 5, 7])
    warm, timed = calls[:9], calls[9:]
    assert [length for _, length, _ in warm] == [3] * 3 + [5] * 3 + [7] * 3  # each shape once
    assert [length for _, length, _ in timed] == [3] * 3 + [5] * 6 + [7] * 3
    assert all({name for name, _, _ in timed[r : r + 3]} == set("abc") for r in range(0, 12, 3))


def test_the_order_of_turns_is_shuffled_by_the_seed():
    orders = [[name for name, _, _ in turns([4] * 12, seed=seed)[1]][3:] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(orders[0][r : r + 3]) for r in range(0, 36, 3)}) > 1


def test_garbage_waits_while_the_clock_runs():
    _, calls = turns([4] * 5)
    assert [enabled for _, _, enabled in calls] == [True] * 3 + [False] * 15
    assert gc.isenabled()


def test_stops_when_the_time_is_up_but_not_before_a_median_holds():
    times, _ = turns([4] * 40, seconds=1e-9)
    assert {len(values) for values in times.values()} == {5}


def test_a_ratio_is_the_references_time_over_the_variants():
    generator = np.random.default_rng(0)
    weather = generator.lognormal(sigma=0.5, size=60)  # slows both sides of a round equally
    times = {"fp32": 0.04 * weather, "int8": 0.02 * weather * generator.lognormal(sigma=0.02, size=60)}
    found = compare(times, 8, Bootstrap())["int8"]
    assert found["speedup"]["value"] == pytest.approx(2, rel=0.02)
    assert found["speedup"]["high"] - found["speedup"]["low"] < 0.05
    assert found["rows_per_second"] == pytest.approx(8 * 60 / times["int8"].sum())
    assert found["p95_ms"] == pytest.approx(np.percentile(times["int8"], 95) * 1000)


def test_spikes_do_not_move_a_ratio():
    times = {"fp32": np.full(48, 0.04), "int8": np.full(48, 0.02)}
    times["int8"][:9] = 0.5
    speedup = compare(times, 1, Bootstrap())["int8"]["speedup"]
    assert speedup == {"value": 2, "low": 2, "high": 2}


def test_the_reference_is_as_fast_as_itself():
    assert compare({"fp32": np.array([1.0, 2, 3])}, 1, Bootstrap())["fp32"]["speedup"] == {
        "value": 1,
        "low": 1,
        "high": 1,
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pins_to_as_many_cores_as_threads_and_lets_go():
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert cores == [max(before)]
    assert os.sched_getaffinity(0) == before


def test_texts_are_drawn_by_seed_and_none_twice(dataset: Path):
    data = open_dataset(dataset)
    first, again, other = (sample_values(data, "text", Config(seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == len(first) == 40  # five requests of eight rows, the fewest, need more than 32 of one


def test_few_texts_are_sent_again(write_dataset, tmp_path: Path):
    data = open_dataset(write_dataset(tmp_path / "data", rows=3))
    assert len(sample_values(data, "text", QUICK)) == 40


@pytest.fixture(scope="module")
def outcome(new_toys, dataset: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("latency")
    with new_toys(folder / "variants") as toys:
        toys.add("fp32", width=256, extra=2)
        toys.add("pruned", width=64)
        toys.add("heavier", width=256, extra=6)
    result = run(folder / "variants", dataset, folder / "latency", QUICK)
    return result, open_measurement(folder / "latency", "latency").data, folder


def test_times_every_variant_in_every_scenario(outcome):
    result, data, _ = outcome
    assert result.variants == 3
    assert data["scenarios"] == ["batch1-fixed128", "batch1-real", "batch8-fixed128", "batch8-real"]
    for entry in data["variants"].values():
        assert list(entry["scenarios"]) == data["scenarios"]
        for metrics in entry["scenarios"].values():
            assert 0 < metrics["p50_ms"] <= metrics["p95_ms"] <= metrics["p99_ms"]
            assert metrics["speedup"]["low"] <= metrics["speedup"]["value"] <= metrics["speedup"]["high"]
    assert data["variants"]["pruned"]["scenarios"]["batch1-fixed128"]["rounds"] == 8
    assert data["variants"]["pruned"]["scenarios"]["batch8-real"]["rounds"] == 5


def test_less_work_is_faster_and_more_is_slower(outcome):
    result, data, _ = outcome
    ratios = {name: entry["scenarios"]["batch8-fixed128"]["speedup"] for name, entry in data["variants"].items()}
    assert ratios["pruned"]["low"] > 1.5
    assert ratios["heavier"]["value"] < 0.9  # not its interval, which other work on the machine widens
    assert result.highest_speedup > 1


def test_shows_where_and_with_what_it_was_measured(outcome):
    _, data, _ = outcome
    assert data["processor"].keys() == {"name", "kind", "instruction_sets", "cores"}
    assert data["versions"].keys() == {"python", "numpy", "onnxruntime"}
    assert data["threads"] == 1
    assert len(data["pinned_cores"]) == (1 if hasattr(os, "sched_setaffinity") else 0)


def test_knows_size_memory_and_cold_start_of_each(outcome):
    result, data, folder = outcome
    for name, entry in data["variants"].items():
        assert entry["size_bytes"] == (folder / "variants" / name / "model.onnx").stat().st_size
        assert 20e6 < entry["peak_memory_bytes"] < 400e6
        assert 1 < entry["cold_start_ms"] < 60_000
    assert result.peak_memory_bytes == data["variants"]["fp32"]["peak_memory_bytes"]


def test_rejects_more_threads_than_cores(outcome, dataset: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="threads is 4096, but this process may use"):
        run(outcome[2] / "variants", dataset, tmp_path / "out", Config(threads=4096))
    assert not (tmp_path / "out").exists()


def test_rejects_an_empty_split(outcome, write_dataset, tmp_path: Path):
    with pytest.raises(DataError, match="the test split of"):
        run(outcome[2] / "variants", write_dataset(tmp_path / "data", rows=0), tmp_path / "out", QUICK)


def test_rejects_a_variant_that_does_not_run_and_leaves_nothing(new_toys, dataset: Path, tmp_path: Path):
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=8)
        toys.add_made("int8", lambda path: path.write_bytes(b"no graph"), "fp32")
    with pytest.raises(ArtifactError, match=r"process: /.*int8/model.onnx does not run in ONNX"):
        run(tmp_path / "variants", dataset, tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()
    assert affinity is None or os.sched_getaffinity(0) == affinity


@pytest.mark.parametrize(
    "settings",
    [
        {"split": ""},
        {"rounds": 4},
        {"max_seconds": 0},
        {"max_seconds": float("nan")},
        {"threads": 0},
        {"resamples": 3},
        {"confidence": 0},
        {"seed": -1},
    ],
)
def test_rejects_settings_that_cannot_work(settings: dict[str, float]):
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        Config(**settings)
