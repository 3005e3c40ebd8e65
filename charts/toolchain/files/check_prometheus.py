"""Check that the rules evaluate and that running services export metrics: ``helm test``."""

import json
import os
import sys
import time
import urllib.request

TIMEOUT_S = 120  # in which Prometheus scrapes each pod at least once


def get(path):
    with urllib.request.urlopen(f"{os.environ['PROMETHEUS']}/api/v1/{path}", timeout=10) as response:
        return json.load(response)["data"]


def jobs_down():
    """Return the expected jobs without a healthy target."""
    found = {target["labels"]["job"] for target in get("targets")["activeTargets"] if target["health"] == "up"}
    return ({"toolchain-services"} if os.environ["ARGO"] == "true" else set()) - found


rules = [rule for group in get("rules")["groups"] for rule in group["rules"]]
wrong = [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] == "err"]
if wrong or not rules:
    sys.exit(f"{len(rules)} rules are loaded; these do not evaluate: {wrong}")
print(f"{len(rules)} rules are loaded")

end = time.monotonic() + TIMEOUT_S
while down := jobs_down():
    if time.monotonic() > end:
        sys.exit(f"no metrics of {', '.join(down)}")
    time.sleep(2)
servers = [target for target in get("targets")["activeTargets"] if target["labels"]["job"] == "toolchain-serving"]
print(f"{len(servers)} model servers are scraped")
