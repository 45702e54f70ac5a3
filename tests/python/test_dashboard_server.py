"""Who may talk to the page's server, what it serves, and what its command refuses. Real servers, plain HTTP."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from copycat.cli.progress import progress
from copycat.dashboard.access import is_loopback
from copycat.dashboard.dialogs import inference_texts
from copycat.dashboard.page import _reveal
from copycat.dashboard.status import duration
from copycat.dashboard.trainings import Trainings
from copycat.errors import CopycatError
from copycat.runs import Run, RunError, TrainerLock, write_whole
from copycat.settings.tables import Settings
from fake_trainer import picture


class Server:
    def __init__(self, directory: Path, host: str, token: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        options = ["--token", token] if token else []
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser", "--host", host, *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=directory,
        )
        assert self.process.stdout is not None
        self.address = urlsplit(self.process.stdout.readline().strip().rpartition(" ")[2])
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert time.monotonic() - began < 60
                time.sleep(0.02)

    @property
    def port(self) -> int:
        assert self.address.port is not None
        return self.address.port

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest("GET", path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    data = root / "data"
    data.mkdir()
    run = Run(data, "r")
    run.summary.write_text('{"step": 1, "loss": 1}\n')
    write_whole(run.contact_sheet(5), picture(9, 9, 1))
    write_whole(run.preview(5), picture(3, 3, 1))
    write_whole(root / "secret_1.png", picture(3, 3, 2))
    (data / "s_1.png").symlink_to(root / "secret_1.png")
    return data


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    server = Server(directory, "127.0.0.1", "")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def open_server(directory: Path) -> Iterator[Server]:
    server = Server(directory, "0.0.0.0", "s3cret")
    yield server
    server.stop()


def test_pictures_of_this_data_directory_are_served(server: Server) -> None:
    for path, size in (("/pictures/r/sheet/5", (9, 9)), ("/pictures/r/preview/5", (3, 3))):
        response = server.get(path)
        data = response.read()
        assert (response.status, response.headers["content-type"]) == (200, "image/png")
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(data[16:20], "big") == size[0]
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/r/sheet/6",
        "/pictures/r/sheet/-5",
        "/pictures/r/summary/5",
        "/pictures/r.summary/sheet/5",
        "/pictures/s/sheet/1",
        "/pictures/..%2Fsecret/sheet/1",
        "/pictures/%2e%2e%2fsecret/sheet/1",
        "/pictures/../secret/sheet/1",
        "/pictures/..%5Csecret/sheet/1",
        "/pictures/" + quote("<script>", safe="") + "/sheet/1",
        "/pictures/%00/sheet/1",
        "/pictures/" + "a" * 5000 + "/sheet/1",
        "/copycat/../page.py",
        "/copycat/..%2Fpage.py",
        "/copycat/%2e%2e/cli.py",
        "/r.summary",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    response = server.get(path)
    data = response.read()
    assert response.status in (400, 404, 422)
    assert not data.startswith(b"\x89PNG")
    assert b"import" not in data[:200]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_for_this_machine_is_refused(server: Server, host: str) -> None:
    assert server.get("/", {"Host": host}).status == 403


def test_pages_of_another_origin_are_refused(server: Server) -> None:
    assert server.get("/", {"Origin": "http://evil.example"}).status == 403
    assert server.get("/", {"Origin": "null"}).status == 403
    assert server.get("/", {"Origin": f"http://127.0.0.1:{server.port}"}).status == 200
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    socket_path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert server.get(socket_path, {**upgrade, "Origin": "http://evil.example"}).status == 403
    assert server.get(socket_path, {**upgrade, "Origin": f"http://127.0.0.1:{server.port}"}).status == 101


def test_the_page_cannot_be_framed_and_leaves_nothing_in_the_directory(server: Server, directory: Path) -> None:
    response = server.get("/")
    assert response.status == 200
    assert response.headers["x-frame-options"] == "DENY"
    response.read()
    left = {path.name for path in directory.iterdir()} - {"copycat.json"}
    assert left == {"r.summary", "r_5.png", "r_5_preview.png", "s_1.png"}


def test_another_host_needs_the_token(open_server: Server) -> None:
    assert open_server.address.query == "token=s3cret"
    for path in ("/", "/?token=wrong", "/pictures/r/sheet/5", "/copycat/progress.js", "/_nicegui_ws/socket.io/?EIO=4"):
        assert open_server.get(path).status == 401, path
    response = open_server.get("/?token=s3cret&theme=light")
    assert (response.status, response.headers["location"]) == (303, "/?theme=light")
    cookie = response.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    headers = {"Cookie": cookie.partition(";")[0]}
    assert open_server.get("/", headers).status == 200
    assert open_server.get("/pictures/r/sheet/5", headers).status == 200
    assert open_server.get("/", {"Cookie": headers["Cookie"] + "x"}).status == 401


def test_a_token_is_made_where_none_is_given(directory: Path) -> None:
    server = Server(directory, "0.0.0.0", "")
    try:
        assert len(server.address.query.removeprefix("token=")) >= 32
        assert server.get("/").status == 401
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_counts_as_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_what_the_command_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CopycatError, match=r"nowhere: there is no such Data Directory"):
        progress(tmp_path / "nowhere")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CopycatError, match=rf"cannot listen on 127.0.0.1 port {port}"):
            progress(tmp_path, port=port)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        CopycatError, match=r"needs NiceGUI, which is not installed: pip install 'copycat-vfx\[progress\]'"
    ):
        progress(tmp_path)


def test_what_a_training_is_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings(tmp_path)
    with pytest.raises(CopycatError, match="name the Input"):
        trainings.start([("", " ")], Settings())
    with pytest.raises(CopycatError, match=r"b\.exr: Input and Ground Truth belong together"):
        trainings.start([("a.exr", "a.exr"), ("", "b.exr")], Settings())
    with pytest.raises(CopycatError, match=r"--help: is no name"):
        trainings.start([("--help", "b.exr")], Settings())
    with pytest.raises(RunError, match="no run 'r'"):
        trainings.resume(Run(tmp_path, "r"))
    run = Run(tmp_path, "r")
    run.summary.touch()
    with pytest.raises(CopycatError, match=r"r\.ost is missing"):
        trainings.resume(run)
    lock = TrainerLock(run)
    with pytest.raises(CopycatError, match="is being trained already"):
        trainings.resume(run)
    lock.release(run)

    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\nfor last; do :; done\ntr -d "\\n" < "$last"\necho\necho "error: $*" >&2\nexit 1\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    pairs = [("in 1.exr", "gt 1.exr"), ("in2.exr", "gt2.exr"), ("", "")]
    trainings.start(pairs, Settings(epochs=7)).wait(20)
    deadline = time.monotonic() + 20
    while not trainings.failures:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    given = "-m copycat train in 1.exr gt 1.exr --pair in2.exr gt2.exr --data-directory"
    sentence, _, settings_file = trainings.failures[0].rpartition(" --settings ")
    assert sentence == f"{given} {tmp_path}"
    assert not Path(settings_file).exists()


def test_files_are_shown_on_no_desktop_but_the_users_own(tmp_path: Path) -> None:
    with pytest.raises(CopycatError, match=re.escape(f"the files are {tmp_path}/r*")):
        _reveal(Run(tmp_path, "r"), local=False)


def test_the_texts_of_create_inference_quote_the_path() -> None:
    texts = list(inference_texts(Path('/a b/[x] $y "z"_1.cat')).values())
    assert texts[0].startswith("copycat infer '/a b/[x] $y \"z\"_1.cat' ")
    assert 'modelFile "/a b/\\[x\\] \\$y \\"z\\"_1.cat"' in texts[1]
    assert 'setValue("/a b/[x] $y \\"z\\"_1.cat")' in texts[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), (100000, "1 d 3 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_dashboard_never_imports_torch() -> None:
    modules = "copycat.cli.progress, copycat.dashboard.server, copycat.cli.runs_table"
    program = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_knobs_of_the_command_become_options_of_the_address(directory: Path) -> None:
    knobs = ["--log-scale", "--smoothness", "0.25", "--no-show-original"]
    command = [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    refused = subprocess.run([*command, "--smoothness", "7"], capture_output=True, text=True, env=environment)
    assert refused.returncode != 0
    assert "Smoothness (smoothness) is at least 0 and at most 1" in refused.stderr
    with subprocess.Popen([*command, *knobs], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        address = urlsplit(server.stdout.readline().strip().rpartition(" ")[2])
        server.terminate()
    assert address.path == "/"
    assert parse_qs(address.query) == {"logScale": ["true"], "smoothness": ["0.25"], "showOriginal": ["false"]}
