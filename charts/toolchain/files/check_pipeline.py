"""Run a pipeline of two steps through Kubeflow Pipelines' API: ``helm test``.

Environment: KFP (the API's address), PIPELINE (its specification as JSON), IMAGE (that of its steps).
"""

import json
import os
import sys
import time
import urllib.request

SECONDS = 280  # Argo takes about 10 s a pod, of which there are five; helm waits 300 s


def main() -> int:
    specification = json.loads(os.environ["PIPELINE"].replace('"IMAGE"', json.dumps(os.environ["IMAGE"])))
    run = ask("runs", {"display_name": "helm test", "pipeline_spec": specification})["run_id"]
    print("started run", run, flush=True)
    state = ended(run)
    print("it ended as", state)
    return 0 if state == "SUCCEEDED" else 1


def ended(run: str) -> str:
    state, until = "PENDING", time.monotonic() + SECONDS
    while state not in {"SUCCEEDED", "FAILED", "CANCELED"} and time.monotonic() < until:
        time.sleep(3)
        now = ask(f"runs/{run}").get("state", state)
        if now != state:
            print(now, flush=True)
        state = now
    return state


def ask(path: str, body: object = None) -> dict[str, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{os.environ['KFP']}/apis/v2beta1/{path}", data)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


sys.exit(main())
