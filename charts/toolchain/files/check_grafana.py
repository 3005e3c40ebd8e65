"""Find the dashboards, their source at work, and the door closed to others: ``helm test``."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request

NAME = f"{os.environ['GRAFANA_USERNAME']}:{os.environ['GRAFANA_PASSWORD']}"


def ask(path, **headers):
    request = urllib.request.Request(f"{os.environ['GRAFANA']}/api/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


known = {"Authorization": f"Basic {base64.b64encode(NAME.encode()).decode()}"}
boards = [board["uid"] for board in ask("search?tag=toolchain", **known)]
if "toolchain-service" not in boards:
    sys.exit(f"the dashboards are not there, but {boards}")
print(f"{len(boards)} dashboards are there")

health = ask("datasources/uid/prometheus/health", **known)
if health["status"] != "OK":
    sys.exit(f"Grafana does not reach Prometheus: {health}")
print("Grafana reaches Prometheus")

try:
    ask("search")
    status = 200
except urllib.error.HTTPError as refusal:
    status = refusal.code
if status != 401:
    sys.exit(f"Grafana answered {status} to somebody without a password, not 401")
print("nobody gets in without a password")
