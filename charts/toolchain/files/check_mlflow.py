"""Log a run with a file as steps do, and check that MLflow requires a login: ``helm test``."""

import os
import sys
import urllib.error
import urllib.request

from mlflow import MlflowClient

client = MlflowClient()
experiment = client.get_experiment_by_name("helm-test")
run = client.create_run(experiment.experiment_id if experiment else client.create_experiment("helm-test"))
client.log_metric(run.info.run_id, "answer", 42)
client.log_text(run.info.run_id, "hello", "hello.txt")
assert client.get_run(run.info.run_id).data.metrics == {"answer": 42}
assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["hello.txt"]
client.delete_run(run.info.run_id)
print("a run and its file were stored")

address = f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
try:
    urllib.request.urlopen(address)
    status = 200
except urllib.error.HTTPError as error:
    status = error.code
if status != 401:
    sys.exit(f"MLflow returned {status} to a request without a password, not 401")
print("a password is required")
