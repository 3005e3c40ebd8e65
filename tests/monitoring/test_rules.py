"""Rules of Prometheus: promtool runs their own tests, in which every alert fires once and once does not."""

import re
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
TESTS = ("rules_test.yml", "rules_long_test.yml")
CASES = [case for name in TESTS for test in read(name)["tests"] for case in test["alert_rule_test"]]
DOCS = PROMETHEUS.parents[1] / "docs"
GROUPED = re.compile(r"\b(by|on) \(([^)]*)\)")


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_and_the_configuration_are_valid():
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", "rules.yml")


@needs_promtool
def test_the_rules_pass_their_tests():
    promtool("test", "rules", *TESTS)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_tested_firing_and_not_firing(name: str):
    fired = [bool(case["exp_alerts"]) for case in CASES if case["alertname"] == name]
    assert set(fired) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_an_action(name: str):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["action"].endswith(".")


def test_the_documentation_lists_each_alert():
    page = (DOCS / "operate" / "dashboards.md").read_text(encoding="utf-8")
    assert [name for name in ALERTS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_group_by_namespace(rule: dict[str, Any]):
    """But for "on ()", by which absent() asks whether there ever was anything."""
    grouped = [(word, labels) for word, labels in GROUPED.findall(rule["expr"]) if labels]
    assert [labels for _, labels in grouped if "namespace" not in labels.split(", ")] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_links_to_its_section_of_the_runbook(name: str):
    page, _, anchor = ALERTS[name]["annotations"]["runbook_url"].rpartition("#")
    assert page.endswith("/docs/operate/runbooks.md")
    headings = re.findall(r"^## (\w+)$", (DOCS / "operate" / "runbooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_the_runbook_has_no_section_without_an_alert():
    sections = re.split(r"^## ", (DOCS / "operate" / "runbooks.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(ALERTS)
    for section in sections:
        assert {"**Meaning.**", "**Check.**", "**Fix.**"} <= set(re.findall(r"\*\*\w+\.\*\*", section)), section


@pytest.mark.parametrize(("window", "rate"), [("1h", 14.4), ("6h", 6.0), ("3d", 1.0)])
def test_burn_rates_are_those_of_the_sre_workbook(window: str, rate: float):
    """2 % of 30 days' budget in an hour, 5 % in six hours, 10 % in three days: Google's SRE workbook, table 5-8."""
    hours, share = {"1h": (1, 0.02), "6h": (6, 0.05), "3d": (72, 0.10)}[window]
    assert share * 30 * 24 / hours == pytest.approx(rate)
    found = [alert for alert in ALERTS.values() if f"ratio_rate{window} > {rate:g} * " in alert["expr"]]
    assert found
    assert all("increase" in alert["expr"] for alert in found)
