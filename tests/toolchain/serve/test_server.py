"""Test the server as a pod runs it: a separate process with real connections and signals."""

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.model_server import ROOT, Running, command, ready, refused
from tests.support.models import picture, record, write_model
from toolchain.artifacts.expected import Row
from toolchain.hardware.cpu import usable_cores
from toolchain.serve.settings import Settings


def test_it_prints_its_address_and_logs_no_request(start: Callable[..., Running], words: Path):
    running = start(words)
    assert "(reviews " in running.line
    assert "4 of 4 recorded predictions match" in running.line
    status, content = running.ask("a private and good film")
    assert (status, content["predictions"][0]["label"]) == (200, "positive")
    with pytest.raises(OSError, match="HTTP Error 404"):
        urlopen(f"http://127.0.0.1:{running.port}/private", timeout=20)
    code, output = running.end(signal.SIGINT)
    assert code == 0
    assert "private" not in output


def test_a_port_in_use_is_reported_before_the_model_is_loaded(words: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = refused(words, "--port", str(port))
    assert code == 2
    assert f"cannot listen at 127.0.0.1 port {port}: Address already in use; choose another with --port" in output


@pytest.mark.parametrize(
    ("environment", "words_", "code", "reason"),
    [
        ({"TOOLCHAIN_SERVE_TOKENS": "short"}, [], 2, "TOOLCHAIN_SERVE_TOKENS holds a token of fewer than 16"),
        ({}, ["--require-tokens"], 2, "tokens are required, but there are none"),
        ({"TOOLCHAIN_SERVE_TOKEN": "a-token-of-tests-only"}, [], 2, "the variable TOOLCHAIN_SERVE_TOKEN is not known"),
        ({}, ["--certificate", "nowhere.pem"], 2, "set both"),
        ({}, ["--certificate", "nowhere.pem", "--key", "nowhere.pem"], 2, "nowhere.pem does not exist"),
        ({}, ["--max-request-rows", "0"], 2, "max_request_rows is 0"),
    ],
)
def test_bad_options_are_reported_in_one_line(
    environment: dict[str, str], words_: list[str], code: int, reason: str, words: Path
):
    found, output = refused(words, "--port", "0", *words_, **environment)
    assert found == code
    assert reason in output
    assert "short" not in output.replace("shorter", "")


def test_a_damaged_model_ends_it_with_1(words: Path):
    (words / "tokenizer.json").unlink()
    code, output = refused(words, "--port", "0")
    assert code == 1
    assert "tokenizer.json missing" in output


def test_a_model_that_is_not_ready_is_alive(words: Path):
    record(words, [Row(text="good", scores=(0.9, 0.1))])
    process = subprocess.Popen(
        command(words, "--port", "0", "--drain-seconds", "0"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    port = int(line.split("/docs")[0].rsplit(":", 1)[1])
    try:
        assert line.startswith("not ready: ")
        assert urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20).status == 200
        with pytest.raises(OSError, match="HTTP Error 503"):
            urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20)
    finally:
        process.kill()
        process.communicate()


def test_no_request_is_lost_at_sigterm(start: Callable[..., Running], words: Path):
    """Clients go on asking, as they do until their balancer notices; each connection that is closed is opened anew."""
    running = start(words, "--drain-seconds", "1")
    codes: list[int] = []
    lost: list[Exception] = []
    over = threading.Event()

    def keep_asking() -> None:
        connection = HTTPConnection("127.0.0.1", running.port, timeout=20)
        while not over.is_set():
            try:
                codes.append(running.ask("good", "bad film", connection=connection)[0])
            except OSError as error:
                if not over.is_set():
                    lost.append(error)
                return

    clients = [threading.Thread(target=keep_asking) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    with pytest.raises(OSError, match="HTTP Error 503"):
        urlopen(f"http://127.0.0.1:{running.port}/readyz", timeout=20)
    assert running.ask("good")[0] == 200
    time.sleep(0.4)
    over.set()  # by then the balancer has noticed
    for client in clients:
        client.join()
    out, error = running.process.communicate(timeout=30)
    assert lost == []
    assert set(codes) == {200}
    assert len(codes) > 20
    assert running.process.returncode == 0
    assert "shutdown complete: all requests were served" in out
    assert error == ""


def test_a_request_in_progress_at_shutdown_is_completed(start: Callable[..., Running], tmp_path: Path):
    from tests.support.models import slow_counter

    folder = write_model(tmp_path / "slow", "text-classification", slow_counter)
    running = start(folder, "--drain-seconds", "0")
    responses: list[int] = []
    caller = threading.Thread(target=lambda: responses.append(running.ask("good film")[0]))
    caller.start()
    time.sleep(0.15)
    code, _ = running.end()
    caller.join()
    assert responses == [200]
    assert code == 0


STUCK = {"decoding": "ImageInput, 'prepare'", "inference": "found.batcher, '_predict'"}


@pytest.mark.parametrize("stuck", STUCK)
def test_work_that_does_not_end_does_not_keep_the_server_from_ending(stuck: str, image_model: Path):
    """A thread sleeps for ten minutes; its request times out, and SIGTERM ends the server."""
    program = (
        "import time\n"
        "from toolchain.inference.image_input import ImageInput\n"
        "from toolchain.serve import __main__, server\n"
        "from toolchain.serve.versions import batching\n"
        "batching.MAX_INLINE_S = 0\n"
        "load = server.load\n"
        "def loaded(settings):\n"
        "    found = load(settings)\n"
        f"    setattr({STUCK[stuck]}, lambda *values: time.sleep(600))\n"
        "    return found\n"
        "server.load = loaded\n"
        "__main__.main()\n"
    )
    given = ["--port", "0", "--drain-seconds", "0", "--request-timeout", "0.3", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(image_model), *given], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        connection = HTTPConnection("127.0.0.1", ready(process).port, timeout=20)
        connection.request("POST", "/predict", picture(9), {"Content-Type": "image/png"})
        assert connection.getresponse().status == 504
        connection.close()
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_https_works_with_a_certificate(start: Callable[..., Running], words: Path, tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--certificate", str(certificate), "--key", str(key))
    running = start(words, *files, "--body-timeout", "2")
    assert "https://127.0.0.1" in running.line
    trusting = ssl.create_default_context(cafile=str(certificate))
    with urlopen(f"https://127.0.0.1:{running.port}/healthz", timeout=20, context=trusting) as response:
        assert response.read() == b"alive"
    with socket.create_connection(("127.0.0.1", running.port), 20) as silent:
        assert silent.recv(1) == b"", "a handshake is waited for as long as a request's head"


def test_the_cores_of_the_pod_decide_how_many_inferences_run_side_by_side(words: Path):
    assert Settings(model=words).worker_count == usable_cores()
    assert Settings(model=words, threads=64).worker_count == 1
    assert Settings(model=words, workers=3).worker_count == 3
