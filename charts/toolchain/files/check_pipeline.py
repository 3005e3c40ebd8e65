"""Run a pipeline of two steps through Kubeflow Pipelines' API: ``helm test``.

Environment: KFP (the API's address), PIPELINE (its specification as JSON), IMAGE (of its steps).
"""

import json
import os
import sys
import time
import urllib.request

TIMEOUT_S = 280  # Argo takes about 10 s a pod, of which there are five; helm waits 300 s


def main() -> int:
    specification = json.loads(os.environ["PIPELINE"].replace('"IMAGE"', json.dumps(os.environ["IMAGE"])))
    run = request("runs", {"display_name": "helm test", "pipeline_spec": specification})["run_id"]
    print("started run", run, flush=True)
    state = wait(run)
    print("final state", state)
    return 0 if state == "SUCCEEDED" else 1


def wait(run: str) -> str:
    state, until = "PENDING", time.monotonic() + TIMEOUT_S
    while state not in {"SUCCEEDED", "FAILED", "CANCELED"} and time.monotonic() < until:
        time.sleep(3)
        current = request(f"runs/{run}").get("state", state)
        if current != state:
            print(current, flush=True)
        state = current
    return state


def request(path: str, body: object = None) -> dict[str, str]:
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(f"{os.environ['KFP']}/apis/v2beta1/{path}", data)
    call.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(call, timeout=30) as response:
        return dict(json.load(response))


sys.exit(main())
