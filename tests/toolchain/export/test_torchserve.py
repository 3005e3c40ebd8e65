import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.support.models import DAMAGED, LABELS, brightness, picture, write_model, write_repaired, write_words
from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import new_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.export.torchserve import Config, run

ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / ".venv-torchserve" / "bin"
needs_torchserve = pytest.mark.skipif(
    not (PROGRAMS / "torchserve").is_file() or shutil.which("java") is None,
    reason="make torchserve makes the environment of TorchServe, and Java runs it",
)
SECONDS_TO_START = 120.0  # Java, a worker and its imports, on a busy machine

# Calls the handler in the working directory, as a worker does, with a fake of TorchServe's context.
WORKER = """
import json, sys
sys.path.insert(0, ".")
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]  # only what was exported
import handler, toolchain
class Context:
    manifest = json.load(open("MAR-INF/MANIFEST.json"))
    model_yaml_config = {"handler": {"threads": 1}}
    codes = {}
    def set_response_status(self, code, phrase, idx): self.codes[idx] = code
    def get_request_header(self, idx, name): return {"content-type": kinds[idx]}
kinds, requests = zip(*json.load(sys.stdin))
context, worker = Context(), handler.Handler()
worker.initialize(context)
responses = worker.handle([{"body": request} for request in requests], context)
print(json.dumps({"predictions": responses, "codes": context.codes, "from": toolchain.__file__}))
"""
JSON, TEXT = "application/json", "text/plain"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of a model that counts words, of which the second predicts the opposite."""
    folder = tmp_path_factory.mktemp("reviews")
    return {"1": write_words(folder / "one"), "2": write_words(folder / "two", -1.0)}


@pytest.fixture(scope="module")
def exported(reviews: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for number, model in reviews.items():
        run(model, folder / number, Config(name="reviews", version=number))
    return {number: folder / number for number in reviews}


def archive_in(folder: Path) -> Path:
    (file,) = (folder / "model-store").iterdir()
    return file


def handled(folder: Path, *requests: tuple[str, Any]) -> dict[str, Any]:
    """Return the responses of the handler unpacked in ``folder`` to ``requests``, each a content type and a body."""
    command = [sys.executable, "-c", WORKER]
    done = subprocess.run(command, cwd=folder, input=json.dumps(requests), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def unpacked(exported: dict[str, Path], tmp_path: Path) -> Path:
    with zipfile.ZipFile(archive_in(exported["1"])) as file:
        file.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def test_the_archive_shows_what_it_is(exported: dict[str, Path], unpacked: Path):
    manifest = json.loads((unpacked / "MAR-INF" / "MANIFEST.json").read_text())
    assert archive_in(exported["1"]).name == "reviews-1.mar"
    assert manifest["model"]["modelName"] == "reviews"
    assert manifest["model"]["modelVersion"] == "1"
    assert all((unpacked / manifest["model"][name]).is_file() for name in ("handler", "requirementsFile", "configFile"))
    assert "onnxruntime==" in (unpacked / "requirements.txt").read_text()
    assert open_measurement(exported["1"], "torchserve").lineage[-1].step == "export.torchserve"


def test_the_same_model_makes_the_same_archive(exported: dict[str, Path], reviews: dict[str, Path], tmp_path: Path):
    run(reviews["1"], tmp_path / "again", Config(name="reviews"))
    assert archive_in(tmp_path / "again").read_bytes() == archive_in(exported["1"]).read_bytes()


def test_the_handler_needs_nothing_of_ours_but_what_the_archive_holds(unpacked: Path, reviews: dict[str, Path]):
    expected = read_expected(reviews["1"])
    assert expected is not None
    found = handled(unpacked, (JSON, {"texts": [row.text for row in expected.rows]}), (TEXT, expected.rows[0].text))
    assert Path(found["from"]).parent == unpacked / "toolchain"
    for prediction, row in zip(found["predictions"][0]["predictions"], expected.rows, strict=True):
        assert prediction["scores"] == pytest.approx(dict(zip(LABELS, row.scores, strict=True)), abs=1e-5)
        assert prediction["score"] == prediction["scores"][prediction["label"]] == max(prediction["scores"].values())
    assert found["predictions"][1]["predictions"] == found["predictions"][0]["predictions"][:1]
    assert found["predictions"][0]["model"]["digest"] == expected.model


def test_the_handler_repairs_texts_as_those_were_that_the_model_learned_from(tmp_path: Path):
    run(write_repaired(tmp_path / "model"), tmp_path / "exported", Config(name="reviews"))
    with zipfile.ZipFile(archive_in(tmp_path / "exported")) as file:
        file.extractall(tmp_path / "unpacked")
    found = handled(tmp_path / "unpacked", (JSON, {"texts": list(DAMAGED)}), (JSON, {"texts": list(DAMAGED.values())}))
    assert found["predictions"][0]["predictions"] == found["predictions"][1]["predictions"]
    assert all(prediction["score"] > 0.7 for prediction in found["predictions"][0]["predictions"])
    assert "ftfy==" in (tmp_path / "unpacked" / "requirements.txt").read_text()


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (TEXT, "  ", "must not be blank"),
        (TEXT, None, "must be a file"),
        (JSON, {}, "the field texts"),
        (JSON, {"texts": []}, "/texts: must be a list"),
        (JSON, {"texts": ["good"] * 257}, "256 are allowed"),
        (JSON, {"texts": "good"}, "/texts: must be a list"),
        (JSON, {"texts": ["good"], "more": 1}, "the field texts"),
        (JSON, {"texts": [1]}, "a text must be a string"),
        (JSON, '{"texts":', "must be a JSON object"),
        (JSON, [1], "must be a JSON object"),
    ],
)
def test_a_bad_request_gets_400_and_the_other_one_its_prediction(kind: str, body: Any, message: str, unpacked: Path):
    found = handled(unpacked, (kind, body), (TEXT, "a good film"))
    assert found["codes"] == {"0": 400}
    assert message in found["predictions"][0]["message"]
    assert found["predictions"][1]["predictions"][0]["label"] == "positive"


def test_images_are_served_and_what_is_none_is_rejected(tmp_path: Path):
    model = write_model(tmp_path / "model", "image-classification", brightness, ("dark", "bright"))
    run(model, tmp_path / "exported", Config(name="light"))
    with zipfile.ZipFile(archive_in(tmp_path / "exported")) as file:
        file.extractall(tmp_path / "unpacked")
    files = [base64.b64encode(picture(level)).decode() for level in (0, 255)]
    found = handled(
        tmp_path / "unpacked",
        (JSON, {"images": files}),
        (JSON, {"images": ["no base64"]}),
        (JSON, {"images": [base64.b64encode(b"no image").decode()]}),
        (JSON, {"texts": ["good"]}),
    )
    assert [prediction["label"] for prediction in found["predictions"][0]["predictions"]] == ["dark", "bright"]
    assert found["codes"] == {"1": 400, "2": 400, "3": 400}
    assert "is not an image" in found["predictions"][2]["message"]


def test_a_model_that_was_changed_in_the_archive_is_not_loaded(unpacked: Path):
    (unpacked / "model" / "model.onnx").write_bytes(b"other")
    command = [sys.executable, "-c", WORKER]
    done = subprocess.run(command, cwd=unpacked, input="[]", capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_one_of_several_variants_is_named(reviews: dict[str, Path], tmp_path: Path):
    with new_variants(tmp_path / "variants", Work("optimize.quantize", None)) as writer:
        writer.keep(open_model(reviews["1"]))
    run(tmp_path / "variants", tmp_path / "exported", Config(name="reviews", variant="fp32"))
    assert archive_in(tmp_path / "exported").is_file()
    for wrong in ("", "int8"):
        with pytest.raises(ConfigError, match="name one of fp32"):
            run(tmp_path / "variants", tmp_path / "refused", Config(name="reviews", variant=wrong))
    with pytest.raises(ConfigError, match="is the model 'fp32'"):
        run(reviews["1"], tmp_path / "refused", Config(name="reviews", variant="int8"))


def test_a_detector_and_a_model_that_was_not_exported_are_rejected(tmp_path: Path):
    for task, backend, message in (
        ("object-detection", "onnxruntime", "a model for object-detection"),
        ("text-classification", "pytorch", "runs on 'pytorch'; export it first"),
    ):
        signature = Signature(task=task, framework="onnx", variant="fp32", backend=backend, weights="weights")
        with new_model(tmp_path / backend, signature, Work("train", None)) as writer:
            (writer.folder / "weights").write_bytes(b"weights")
        with pytest.raises(DataError, match=message):
            run(tmp_path / backend, tmp_path / "refused", Config(name="reviews"))
    with pytest.raises(ArtifactError, match=r"has no model\.json"):
        run(tmp_path / "nothing", tmp_path / "refused", Config(name="reviews"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "TorchServe takes letters"),
        ({"name": "../evil"}, "TorchServe takes letters"),
        ({"version": "latest"}, "version is 'latest'"),
        ({"workers": 0}, "workers is 0: give at least 1"),
        ({"max_batch_delay_ms": -1}, "max_batch_delay_ms is -1: give at least 0"),
    ],
)
def test_settings_that_cannot_work_are_rejected(wrong: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**{"name": "reviews", **wrong})


@needs_torchserve
def test_the_real_archiver_packs_the_same(unpacked: Path, exported: dict[str, Path], tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    for part in ("model", "toolchain"):
        shutil.copytree(unpacked / part, tmp_path / "extra" / part)
    options = {
        "--model-name": "reviews",
        "--version": "1",
        "--handler": str(unpacked / "handler.py"),
        "--extra-files": str(tmp_path / "extra"),
        "--requirements-file": str(unpacked / "requirements.txt"),
        "--config-file": str(unpacked / "model-config.yaml"),
        "--export-path": str(tmp_path / "theirs"),
    }
    arguments = [argument for pair in options.items() for argument in pair]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([PROGRAMS / "torch-model-archiver", *arguments], check=True, cwd=tmp_path, env=variables)
    with (
        zipfile.ZipFile(tmp_path / "theirs" / "reviews.mar") as theirs,
        zipfile.ZipFile(archive_in(exported["1"])) as ours,
    ):
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        manifests = [json.loads(file.read("MAR-INF/MANIFEST.json")) for file in (ours, theirs)]
    for manifest in manifests:
        del manifest["createdOn"]
    assert manifests[0] == manifests[1]


@dataclass(frozen=True)
class Server:
    """TorchServe at work."""

    folder: Path
    inference: str
    management: str

    def request(
        self, path: str, body: Any = None, kind: str = JSON, method: str = "", token: bool = True
    ) -> tuple[int, Any]:
        """Return the status and the response of ``path``, of the inference API or else of the management API."""
        predicts = path.startswith("/predictions")
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        address = self.inference if predicts else self.management
        request = Request(f"{address}{path}", data, {"Content-Type": kind} if data else {})
        request.method = method or request.get_method()
        if token:
            keys = json.loads((self.folder / "key_file.json").read_text())
            request.add_header("Authorization", f"Bearer {keys['inference' if predicts else 'management']['key']}")
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())

    def version(self, path: str = "/predictions/reviews") -> str:
        """Return the version that serves ``path``."""
        status, found = self.request(path, {"texts": ["a good film"]})
        assert status == 200, found
        return str(found["model"]["version"])


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(exported: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """TorchServe as the exported config.properties starts it, at free ports, with both archives in its store."""
    folder = tmp_path_factory.mktemp("torchserve") / "at-work"
    shutil.copytree(exported["1"], folder)
    shutil.copy(archive_in(exported["2"]), folder / "model-store")
    properties = (folder / "config.properties").read_text()
    ports = free_ports(5)
    for usual, port in zip((8080, 8081, 8082, 7070, 7071), ports, strict=True):
        properties = properties.replace(str(usual), str(port))
    (folder / "config.properties").write_text(f"{properties}vmargs=-Xmx256m\n")
    (folder / "tmp").mkdir()
    options = ["--start", "--foreground", "--ncs", "--enable-model-api", "--model-store", "model-store"]
    variables = {**os.environ, "TMPDIR": str(folder / "tmp"), "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["torchserve", *options, "--ts-config", "config.properties"],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield wait(Server(folder, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait(server: Server) -> Server:
    """Return ``server`` when it serves its first version."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        try:
            if server.request("/predictions/reviews/1", {"texts": ["good"]})[0] == 200:
                return server
        except (OSError, ValueError):  # it is not listening yet, or has written no keys
            pass
        time.sleep(0.5)
    raise AssertionError((server.folder / "log").read_text()[-3000:])


@pytest.mark.slow
@needs_torchserve
def test_torchserve_predicts_what_evaluation_recorded(server: Server, reviews: dict[str, Path]):
    expected = read_expected(reviews["1"])
    assert expected is not None
    status, found = server.request("/predictions/reviews/1", {"texts": [row.text for row in expected.rows]})
    assert status == 200
    assert found["model"]["digest"] == expected.model
    for prediction, row in zip(found["predictions"], expected.rows, strict=True):
        assert prediction["scores"] == pytest.approx(dict(zip(LABELS, row.scores, strict=True)), abs=1e-5)


@pytest.mark.slow
@needs_torchserve
def test_a_second_version_is_registered_made_the_default_and_rolled_back(server: Server, reviews: dict[str, Path]):
    assert server.request("/models?url=reviews-2.mar&synchronous=true", method="POST")[0] == 200
    assert server.version() == "1", "the first stays the default"
    assert server.version("/predictions/reviews/2") == "2"
    assert server.request("/models/reviews/2/set-default", method="PUT")[0] == 200
    assert server.version() == "2"
    label = server.request("/predictions/reviews", b"a good film", TEXT)[1]["predictions"][0]["label"]
    assert label == "negative", "the second predicts the opposite"
    assert server.request("/models/reviews/1/set-default", method="PUT")[0] == 200
    assert server.version() == "1"
    assert server.request("/predictions/reviews", b"a good film", TEXT)[1]["predictions"][0]["label"] == "positive"


@pytest.mark.slow
@needs_torchserve
@pytest.mark.parametrize(
    ("path", "body", "kind", "code"),
    [
        ("/predictions/reviews", b'{"texts":', JSON, 400),
        ("/predictions/reviews", {"texts": [None]}, JSON, 400),
        ("/predictions/reviews", b"", TEXT, 400),
        ("/predictions/reviews/7", {"texts": ["good"]}, JSON, 404),
        ("/predictions/nothing", {"texts": ["good"]}, JSON, 404),
    ],
)
def test_torchserve_rejects_what_is_no_request(path: str, body: Any, kind: str, code: int, server: Server):
    assert server.request(path, body, kind)[0] == code
    assert server.version("/predictions/reviews/1") == "1", "and it still serves"


@pytest.mark.slow
@needs_torchserve
def test_torchserve_reads_no_more_of_a_request_than_the_limit(server: Server):
    try:
        status: int | None = server.request("/predictions/reviews", b"x" * 9 * 1024**2, TEXT)[0]
    except OSError:  # it closes the connection while we are still sending
        status = None
    assert status in (413, None)
    assert server.version("/predictions/reviews/1") == "1"


@pytest.mark.slow
@needs_torchserve
def test_torchserve_requires_tokens_and_takes_no_archive_from_elsewhere(server: Server):
    assert server.request("/predictions/reviews", {"texts": ["good"]}, token=False)[0] == 400
    assert server.request("/models", token=False)[0] == 400
    for url in ("http://127.0.0.1:9/evil.mar", "file:///tmp/evil.mar", "../evil.mar"):
        assert server.request(f"/models?url={url}", method="POST")[0] == 404
    assert (server.folder / "key_file.json").stat().st_mode & 0o077 == 0, "its owner's alone"
