"""Who may talk to the page's server, what it serves, and what its command refuses. Real servers, plain HTTP.

Over 400 lines: each rule of access, with the requests that break it, against the same servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import psutil
import pytest
from copycat.cli.progress import listen, progress
from copycat.dashboard import server as server_module
from copycat.dashboard.access import is_loopback
from copycat.dashboard.dialogs import inference_texts
from copycat.dashboard.faults import Faults
from copycat.dashboard.new_training import start_training
from copycat.dashboard.page import _reveal
from copycat.dashboard.status import duration
from copycat.errors import CopycatError
from copycat.runs import (
    Display,
    Run,
    RunError,
    TrainerLock,
    find_runs,
    read_info,
    take_request,
    trainer_lives,
    write_whole,
)
from copycat.runs.launch import Trainings, starting_runs, stop_training
from copycat.settings.tables import Settings
from fake_trainer import picture


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Server:
    def __init__(self, directory: Path, host: str, token: str, *options: str, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | variables
        options = (*options, *(["--token", token] if token else []))
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser", "--host", host, *options],
            stdin=subprocess.DEVNULL,
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

    @property
    def cookie(self) -> str:
        """The cookie of a browser that opened the printed address."""
        token = parse_qs(self.address.query)["token"][0]
        return f"copycat_{self.port}={token}"

    def get(self, path: str, headers: Mapping[str, str] | None = None, stranger: bool = False) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            headers = dict(headers or {})
            connection.putrequest("GET", path, skip_host="Host" in headers)
            if not stranger:
                headers.setdefault("Cookie", self.cookie)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

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
        data = response.body
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
    data = response.body
    assert response.status in (400, 404, 422)
    assert not data.startswith(b"\x89PNG")
    assert b"import" not in data[:200]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_for_this_machine_is_refused(server: Server, host: str) -> None:
    assert server.get("/", {"Host": host}).status == 400
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert server.get("/", {"Host": f"{name}:{server.port}"}).status == 200


@pytest.mark.parametrize("where", ["server", "open_server"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "[::1"},
        {"Host": "[::1]]:80"},
        {"Host": "[nonsense]:80"},
        {"Host": "localhost:port"},
        {"Host": "localhost:99999999"},
        {"Origin": "http://[::1"},
        {"Origin": "http://[nonsense]/"},
    ],
)
def test_malformed_headers_are_bad_requests(
    request: pytest.FixtureRequest, where: str, headers: dict[str, str]
) -> None:
    response = request.getfixturevalue(where).get("/", headers)
    assert response.status == 400
    assert b"Traceback" not in response.body


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
    left = {path.name for path in directory.iterdir()} - {"copycat.json"}
    assert left == {"r.summary", "r_5.png", "r_5_preview.png", "s_1.png"}


def test_another_host_needs_the_token(open_server: Server) -> None:
    assert open_server.address.query == "token=s3cret"
    for path in (
        "/",
        "/?token=wrong",
        "/pictures/r/sheet/5",
        "/shot/r/0/input/5",
        "/copycat/progress.js",
        "/_nicegui_ws/socket.io/?EIO=4",
    ):
        assert open_server.get(path, stranger=True).status == 401, path
    response = open_server.get("/?token=s3cret&theme=light", stranger=True)
    assert (response.status, response.headers["location"]) == (303, "/?theme=light")
    cookie = response.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()  # a link on another site finds the cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    assert open_server.get("/", headers).status == 200
    assert open_server.get("/pictures/r/sheet/5", headers).status == 200
    assert open_server.get("/", {"Cookie": headers["Cookie"] + "x"}).status == 401


def test_this_machine_s_other_users_need_the_token_too(server: Server) -> None:
    token = parse_qs(server.address.query)["token"][0]
    assert len(token) >= 32
    for path in ("/", "/pictures/r/sheet/5", "/copycat/progress.js", "/_nicegui_ws/socket.io/?EIO=4"):
        assert server.get(path, stranger=True).status == 401, path
    response = server.get(f"//evil.example/?token={token}", stranger=True)
    assert (response.status, response.headers["location"]) == (303, "/evil.example/")


@pytest.mark.parametrize(
    "others",
    ['a="b', "=;;=", "é=1", 'grafana_session=x; {"a": 1}', "a=b, c=d", "a[b]=c; \xff=2", "x" * 3000, "a=" + '"' * 99],
)
def test_cookies_of_other_tools_do_not_lose_ours(server: Server, others: str) -> None:
    for cookie in (f"{others}; {server.cookie}", f"{server.cookie}; {others}"):
        assert server.get("/pictures/r/sheet/5", {"Cookie": cookie.encode().decode("latin-1")}).status == 200


def test_the_browser_is_opened_with_a_ticket_that_is_good_once(directory: Path, tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    server = Server(directory, "127.0.0.1", "", "--browser", BROWSER=f"{browser} %s")
    try:
        deadline = time.monotonic() + 30
        while not opened.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = urlsplit(opened.read_text().strip())
        assert parse_qs(address.query)["token"] != parse_qs(server.address.query)["token"]
        first = server.get(f"{address.path}?{address.query}", stranger=True)
        assert first.status == 303
        assert first.headers["set-cookie"].startswith(f"{server.cookie};")
        assert server.get(f"{address.path}?{address.query}", stranger=True).status == 401
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


def test_a_port_that_was_chosen_is_nobody_else_s() -> None:
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", 0) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
        assert ports[0] != ports[1]
        for port in ports:
            with socket.socket() as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    thief.bind(("127.0.0.1", port))


def test_connections_of_the_listening_socket_send_at_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert server_module._listening_options(listening) == {"fd": listening.fileno()}
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Python:
    """An "interpreter" that stands for the training: it holds what it inherited until it is let go."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        script = folder / "python"
        script.write_text(
            f'#!/bin/sh\ncd {folder}\necho "$*" > arguments.part\ncat > settings\nmv arguments.part arguments.$$\n'
            'while [ ! -e go ]; do sleep 0.02; done\necho "error: it $(cat go)" >&2\nexit 1\n'
        )
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    def arguments(self) -> list[str]:
        """The command line of each training that was started."""
        return [path.read_text().strip() for path in self.folder.glob("arguments.*") if path.suffix != ".part"]

    def wait(self, count: int = 1) -> None:
        deadline = time.monotonic() + 20
        while len(self.arguments()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, how: str = "fails") -> None:
        (self.folder / "go.part").write_text(how)
        (self.folder / "go.part").rename(self.folder / "go")


def test_what_a_training_is_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "data"
    trainings = Trainings()
    with pytest.raises(CopycatError, match="name the Input"):
        start_training(trainings, directory, [("", " ")], Settings())
    with pytest.raises(CopycatError, match=r"b\.exr: Input and Ground Truth belong together"):
        start_training(trainings, directory, [("a.exr", "a.exr"), ("", "b.exr")], Settings())
    with pytest.raises(CopycatError, match=r"--help is not the name of a sequence"):
        start_training(trainings, directory, [("--help", "b.exr")], Settings())
    python = Python(tmp_path / "python", monkeypatch)
    pairs = [("in 1.exr", "gt 1.exr"), ("in2.exr", "gt2.exr"), ("", "")]
    run = start_training(trainings, directory, pairs, Settings(epochs=7))
    assert trainer_lives(run)
    assert Display.read(directory).active == run.name
    python.wait()
    assert python.arguments() == [
        "-P -m copycat train in 1.exr gt 1.exr --pair in2.exr gt2.exr "
        f"--data-directory {directory} --run-name {run.name} --settings /dev/stdin"
    ]
    assert json.loads((python.folder / "settings").read_text())["epochs"] == 7
    python.end()
    deadline = time.monotonic() + 20
    while not trainings.failures:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert trainings.failures == [f"{run.name} failed: it fails"]
    assert trainings.failure(run) == "it fails"
    assert run.files() == []


def test_a_second_press_is_refused_from_the_first_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Python(tmp_path / "python", monkeypatch)
    directory = tmp_path / "data"
    pages = Trainings(), Trainings()  # the page's server, and a host's worker

    def press(trainings: Trainings) -> Run | str:
        try:
            return start_training(trainings, directory, [("a.exr", "b.exr")], Settings())
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(press, pages * 3))
    (run,) = [answer for answer in answers if isinstance(answer, Run)]
    assert set(answers) - {run} == {f"run {run.name} is starting already: wait until it trains, or stop it"}
    python.wait()
    assert len(python.arguments()) == 1
    assert starting_runs(directory) == [run]
    python.end()


def test_resume_and_finish_twice_start_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Python(tmp_path / "python", monkeypatch)
    directory = tmp_path / "data"
    directory.mkdir()
    trainings, others = Trainings(), Trainings()
    run = Run(directory, "r")
    with pytest.raises(RunError, match="no run 'r'"):
        trainings.resume(run)
    run.summary.write_text('{"step": 1, "loss": 1}\n{"end": "stopped", "step": 1}\n')
    with pytest.raises(RunError, match=r"r\.ost is missing"):
        trainings.resume(run)
    with pytest.raises(RunError, match="is not being trained"):
        stop_training(run)
    lock = TrainerLock(run)
    run.resume_state.touch()
    with pytest.raises(RunError, match="is being trained already"):
        trainings.resume(run)
    lock.release(run)
    trainings.resume(run)
    assert read_info(run).state == "starting"
    for second in (trainings, others):
        with pytest.raises(RunError, match="run r is starting already"):
            second.resume(run)
    others.finish(run)  # asks the trainer that starts
    stop_training(run)
    python.wait()
    assert python.arguments() == [f"-P -m copycat resume {directory} --run r"]
    # The trainer takes over the lock that it inherited, with what was asked meanwhile.
    assert take_request(run) is not None
    python.end()
    deadline = time.monotonic() + 20
    while trainer_lives(run):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert read_info(run).state == "stopped"


def test_a_module_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    ran = directory / "ran"
    for name in ("typer", "copycat", "torch", "numpy"):
        (directory / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(directory)
    trainings = Trainings()
    start_training(trainings, directory, [("nowhere.exr", "nowhere.exr")], Settings())
    deadline = time.monotonic() + 60
    while not trainings.failures:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "nowhere.exr" in trainings.failures[0]
    assert not ran.exists()
    assert find_runs(directory) == []


def test_one_bad_run_does_not_stop_the_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(server_module.app, "clients", lambda path: [path])
    monkeypatch.setattr(server_module, "SCAN_SECONDS", 0.01)
    faults = Faults()

    class Watch:
        scans = 0

        def scan(self) -> bool:
            self.scans += 1
            raise OverflowError("a number past a double")

    watch = Watch()

    async def look() -> None:
        watching = asyncio.create_task(server_module._keep_watching(watch, faults))  # type: ignore[arg-type]
        while watch.scans < 5:
            await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(look())
    (sentence,) = faults.sentences
    assert sentence.startswith("copycat failed: OverflowError: a number past a double (details: ")
    assert "in scan" in (tmp_path / "copycat" / "progress.log").read_text()


def test_files_are_shown_on_no_desktop_but_the_users_own(tmp_path: Path) -> None:
    with pytest.raises(CopycatError, match=re.escape(f"the files are {tmp_path}/r*")):
        _reveal(Run(tmp_path, "r"), local=False)


def test_the_program_that_shows_the_files_leaves_no_dead_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "shown"
    for name in ("open", "xdg-open"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$$ $1" > {shown}.part && mv {shown}.part {shown}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    _reveal(Run(tmp_path, "r"), local=True)
    deadline = time.monotonic() + 30
    while not shown.exists() or psutil.pid_exists(int(shown.read_text().split()[0])):
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
    options = parse_qs(address.query)
    assert len(options.pop("token")[0]) >= 32
    assert options == {"logScale": ["true"], "smoothness": ["0.25"], "showOriginal": ["false"]}
