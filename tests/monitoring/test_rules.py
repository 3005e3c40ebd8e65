"""Rules of Prometheus: promtool runs their own tests, in which every alert fires once and once does not."""

import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[2] / "monitoring" / "prometheus"
needs_promtool = pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")


def read(name: str) -> Any:
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


RULES = [rule for group in read("rules.yml")["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES = [case for test in read("rules_test.yml")["tests"] for case in test["alert_rule_test"]]


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_and_the_configuration_are_valid():
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", "rules.yml")


@needs_promtool
def test_the_rules_do_what_their_tests_say():
    promtool("test", "rules", "rules_test.yml")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_seen_to_fire_and_not_to_fire(name: str):
    fired = [bool(case["exp_alerts"]) for case in CASES if case["alertname"] == name]
    assert set(fired) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["action"].endswith(".")


def test_the_documentation_tells_of_each_alert():
    page = (PROMETHEUS.parents[1] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert [name for name in ALERTS if f"`{name}`" not in page] == []
