"""The command line as a program: light, documented, and clear when something is wrong (design §7)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from integration import nursery
from integration.daemons import Daemon
from moodmesh.nodes.bench import homes
from moodmesh.nodes.cli.main import app
from moodmesh.nodes.cli.output import ago, emit, say
from moodmesh.nodes.errors import NoDaemon
from moodmesh.nodes.pool.rundir import run_dir

HEAVY = {
    "aiohttp",
    "rich",
    "numpy",
    "pydantic",
    "ray",
    "torch",
    "onnxruntime",
    "matplotlib",
    "psutil",
    "zeroconf",
    "cryptography",
}
NO_JSON = {"up"}
Command = tuple[str, ...]


def commands() -> Iterator[tuple[Command, typer.core.TyperCommand]]:
    def walk(group: object, path: Command) -> Iterator[tuple[Command, typer.core.TyperCommand]]:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                yield from walk(command, (*path, name))
            else:
                yield (*path, name), command

    yield from walk(typer.main.get_command(app), ())


def moodmesh(home: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return nursery.run(args, {**os.environ, "MOODMESH_HOME": str(home), **environ})


LOADED = """
import json, sys
sys.argv = ["moodmesh", *sys.argv[1:]]
from moodmesh.nodes.cli.main import main
try:
    main()
except SystemExit:
    pass
print("LOADED " + json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "args",
    [["--help"], ["status"], ["status", "--json"], ["job", "list"], ["job", "submit", "--help"], ["make", "music", "--help"]],
)
def test_nothing_heavy_is_loaded_to_ask_the_daemon(tmp_path: Path, args: list[str]) -> None:
    environment = {**os.environ, "MOODMESH_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LOADED, *args], capture_output=True, text=True, env=environment, check=False)
    line = next(line for line in done.stderr.splitlines() if line.startswith("LOADED "))
    assert not HEAVY & set(json.loads(line.removeprefix("LOADED ")))


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=" ".join(p)) for p, c in commands()])
def test_every_command_has_an_example_and_json(path: Command, command: typer.core.TyperCommand) -> None:
    assert f"Example: moodmesh {' '.join(path)}" in (command.help or "")
    options = {option for parameter in command.params for option in parameter.opts}
    assert path[-1] in NO_JSON or "--json" in options
    assert not [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]


@pytest.mark.parametrize(
    "args",
    [["status"], ["health"], ["tasks"], ["near"], ["peers", "list"], ["peers", "forget", "x"], ["job", "list"],
     ["job", "show", "ab"], ["job", "submit", "emotion.text"], ["pair"], ["pair", "37-482915"], ["token", "rotate"]],
)  # fmt: skip
def test_without_a_daemon_every_command_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    monkeypatch.setenv("MOODMESH_HOME", str(tmp_path))
    with pytest.raises(NoDaemon, match="moodmesh up"):
        app(args, standalone_mode=False)


def test_asking_for_a_daemon_makes_nothing(tmp_path: Path) -> None:
    for command in ("status", "doctor"):
        done = moodmesh(tmp_path / "home", command, TMPDIR=str(tmp_path), XDG_RUNTIME_DIR="")
        assert "moodmesh up" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not run_dir(tmp_path / "home", create=False).exists()


def test_exit_codes_and_errors_as_json(tmp_path: Path) -> None:
    done = moodmesh(tmp_path, "status", "--json")
    assert done.returncode == 3
    assert "moodmesh up" in json.loads(done.stdout)["error"]["message"]
    assert "Traceback" not in done.stderr
    done = moodmesh(tmp_path, "job", "submit", "emotion.text", "--input", str(tmp_path), "--json")
    assert done.returncode == 2
    assert "cannot read" in json.loads(done.stdout)["error"]["message"]
    assert moodmesh(tmp_path, "no-such-command").returncode == 2
    assert moodmesh(tmp_path, "--help").returncode == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["job", "submit", "t", "--input", "{missing}"], "cannot read .*No such file.*check the path"),
        (["job", "submit", "t", "--input", "{home}"], "cannot read .*directory"),
        (["job", "submit", "t", "-p", "novalue"], "write key=value"),
        (["job", "submit", "t", "--by", "soon"], "10s, 500ms or 2min"),
        (["job", "submit", "t", "--by", ""], "--by .empty.*10s, 500ms or 2min"),
        (["job", "submit", "t", "--expire", ""], "--expire .empty.*10s, 500ms or 2min"),
        (["job", "submit", "t", "--escalate", ""], "--escalate .empty.*0.3 or 30%"),
        (["up", "--set", "pool.slot=1"], "did you mean pool.slots"),
        (["up", "--profile", "fridge"], "'phone'"),
        (["config", "show"], "did you mean"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_two(tmp_path: Path, args: list[str], words: str) -> None:
    if args == ["config", "show"]:
        (tmp_path / "moodmesh.toml").write_text("[pool]\nslot = 1\n")
    filled = [a.format(missing=tmp_path / "missing.txt", home=tmp_path) for a in args]
    done = moodmesh(tmp_path, *filled)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(words, done.stderr), done.stderr


def test_an_age_is_never_negative() -> None:
    assert [ago(seconds) for seconds in (-86400, 0, 59, 3600)] == ["0.0 s", "0.0 s", "59 s", "1 h"]


def test_config_shows_where_a_value_came_from(tmp_path: Path) -> None:
    done = moodmesh(tmp_path, "config", "show", "--origin", "--json", MOODMESH_POOL__SLOTS="3")
    assert json.loads(done.stdout)["pool.slots"] == {"value": 3, "origin": "environment"}


def test_completion_installs_and_completes(tmp_path: Path) -> None:
    done = moodmesh(tmp_path, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "COMPLETE" in done.stdout
    home = tmp_path / "user"
    home.mkdir()
    done = moodmesh(tmp_path, "--install-completion", "bash", HOME=str(home), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert any(f.is_file() and "COMPLETE" in f.read_text() for f in home.rglob("*"))


# -- daemons that cannot start -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("running"), "alpha", jobs__benchmark="false").start()
    try:
        yield daemon
    finally:
        with contextlib.suppress(Exception):
            daemon.kill(signal.SIGTERM)


QUIET = ("--set", "mesh.hello=false", "--set", "mesh.mdns=false", "--set", "pool.kind=process", "--set", "jobs.benchmark=false")


def test_a_second_daemon_on_the_same_home_is_refused_and_the_first_goes_on(running: Daemon) -> None:
    done = moodmesh(running.home, "up", *QUIET)
    assert running.process is not None
    assert done.returncode == 4
    assert f"already runs for {running.home} (pid {running.process.pid})" in done.stderr
    assert "MOODMESH_HOME" in done.stderr
    assert running.client.get("status")["pid"] == running.process.pid
    assert moodmesh(running.home, "identity", "reset", "--yes").returncode == 4


def test_a_taken_port_is_named_with_the_way_out(running: Daemon, tmp_path: Path) -> None:
    done = moodmesh(tmp_path, "up", *QUIET, "--set", f"mesh.port={running.port}")
    assert done.returncode == 1
    assert f"port {running.port} is taken" in done.stderr
    assert "mesh.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_api_port_is_named_with_the_way_out(running: Daemon, tmp_path: Path) -> None:
    done = moodmesh(tmp_path, "up", *QUIET, "--set", f"mesh.port={homes.free_port()}", "--set", f"api.port={running.port}")
    assert done.returncode == 4, done.stderr
    assert f"api.port {running.port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_newer_store_is_refused_by_up(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "moodmesh.db")) as db:
        db.execute("PRAGMA user_version=99")
    done = moodmesh(tmp_path, "up", *QUIET)
    assert done.returncode == 1
    assert "newer Moodmesh" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_names_have_exit_code_two_and_say_what_there_is(running: Daemon) -> None:
    for args, words in (
        (["job", "submit", "emotion.smell"], "installed: emotion.text"),
        (["peers", "show", "nobody"], "none yet"),
        (["job", "show", "abc"], "job list"),
        (["job", "show", "xyz"], "not a job id"),
        (["pair", "hello"], "code"),
    ):
        done = moodmesh(running.home, *args)
        assert done.returncode == 2, (args, done.stderr)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_peer_wrote_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07 \x1b[2J\r\x9b31m fine\tas before"
    emit({}, False, lambda: [hostile])
    say(hostile)
    found = capsys.readouterr()
    for text in (found.out, found.err):
        assert text == "\\x1b]0;owned\\x07 \\x1b[2J\\x0d\\x9b31m fine\tas before\n"
