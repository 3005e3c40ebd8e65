"""Find the rules loaded, and the figures of the services that run: ``helm test``."""

import json
import os
import sys
import time
import urllib.request

SECONDS = 120  # within which it has asked each pod at least once


def ask(path):
    with urllib.request.urlopen(f"{os.environ['PROMETHEUS']}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


def jobs_down():
    """Return the jobs that should answer and do not yet."""
    found = {target["labels"]["job"] for target in ask("targets")["activeTargets"] if target["health"] == "up"}
    return ({"toolchain-services"} if os.environ["ARGO"] == "true" else set()) - found


rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
wrong = [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] == "err"]
if wrong or not rules:
    sys.exit(f"{len(rules)} rules are loaded, of which these do not evaluate: {wrong}")
print(f"{len(rules)} rules are loaded")

end = time.monotonic() + SECONDS
while down := jobs_down():
    if time.monotonic() > end:
        sys.exit(f"no figures of {', '.join(down)}")
    time.sleep(2)
servers = [target for target in ask("targets")["activeTargets"] if target["labels"]["job"] == "toolchain-serving"]
print(f"{len(servers)} model servers are asked")
