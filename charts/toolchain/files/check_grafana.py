"""Check that Grafana has its dashboards, reaches Prometheus and requires a login: ``helm test``."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request

NAME = f"{os.environ['GRAFANA_USERNAME']}:{os.environ['GRAFANA_PASSWORD']}"


def get(path, **headers):
    request = urllib.request.Request(f"{os.environ['GRAFANA']}/api/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


known = {"Authorization": f"Basic {base64.b64encode(NAME.encode()).decode()}"}
boards = [board["uid"] for board in get("search?tag=toolchain", **known)]
if "toolchain-service" not in boards:
    sys.exit(f"the dashboards are missing; found {boards}")
print(f"{len(boards)} dashboards found")

health = get("datasources/uid/prometheus/health", **known)
if health["status"] != "OK":
    sys.exit(f"Grafana does not reach Prometheus: {health}")
print("Grafana reaches Prometheus")

try:
    get("search")
    status = 200
except urllib.error.HTTPError as error:
    status = error.code
if status != 401:
    sys.exit(f"Grafana returned {status} to a request without a password, not 401")
print("a password is required")
