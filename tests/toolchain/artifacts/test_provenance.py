import time
from dataclasses import dataclass, replace

from toolchain.artifacts.provenance import Provenance, Work, ancestors, lineage_from_json, lineage_to_json


@dataclass(frozen=True)
class Settings:
    seed: int = 3


@dataclass(frozen=True)
class Made:
    digest: str
    lineage: tuple[Provenance, ...]


def made(step: str, digest: str, **parents: Made) -> Made:
    return Made(digest, Work(step, Settings(), **parents).finish("dataset", digest))


def test_records_settings_parents_and_cost():
    parent = made("data.ingest", "aa")
    work = Work("data.clean", Settings(seed=5), gpus=2, raw=parent)
    work.metrics["rows"] = 7.0
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    entry = work.finish("dataset", "bb")[-1]
    assert (entry.step, entry.kind, entry.digest) == ("data.clean", "dataset", "bb")
    assert entry.parents == {"raw": "aa"}
    assert entry.config == {"seed": 5}
    assert entry.metrics == {"rows": 7.0}
    assert 0.04 <= entry.cpu_seconds <= 10
    assert entry.gpu_seconds == round(2 * entry.seconds, 3) or abs(entry.gpu_seconds - 2 * entry.seconds) < 0.01
    assert entry.peak_memory_bytes > 1 << 20
    assert entry.started.endswith("+00:00")


def test_lineage_names_every_ancestor_once_and_oldest_first():
    first = made("data.ingest", "aa")
    left, right = made("data.clean", "bb", raw=first), made("train.it", "cc", dataset=first)
    last = made("evaluate.it", "dd", model=right, dataset=left)
    assert [entry.digest for entry in last.lineage] == ["aa", "cc", "bb", "dd"]
    assert [entry.digest for entry in ancestors(left, right)] == ["aa", "bb", "cc"]


def test_lineage_survives_json_and_passes_over_what_later_versions_add():
    lineage = made("data.clean", "bb", raw=made("data.ingest", "aa")).lineage
    entries = [{**entry, "invented_later": 1} for entry in lineage_to_json(lineage)]
    assert lineage_from_json(entries) == lineage


def test_metrics_set_after_the_end_change_nothing():
    work = Work("data.clean", Settings())
    entry = work.finish("dataset", "aa")[-1]
    work.metrics["late"] = 1.0
    assert entry == replace(entry, metrics={})
