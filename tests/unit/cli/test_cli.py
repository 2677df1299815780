"""The command `wsgi-coverage`: arguments, streams and exit codes."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from command_names import COMMAND_NAMES

import wsgi_coverage
from wsgi_coverage import cli
from wsgi_coverage import command as command_module
from wsgi_coverage.demo import run as demo_run
from wsgi_coverage.errors import WsgiCoverageError

Output = pytest.CaptureFixture[str]


@pytest.fixture
def demo_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, int]]:
    """The demo does nothing but note what it was asked for."""
    calls: list[tuple[int | None, int]] = []

    def note(port: int | None, workers: int) -> int:
        calls.append((port, workers))
        return 0

    monkeypatch.setattr(demo_run, "run", note)
    return calls


def test_the_command_exists_after_installation() -> None:
    [command] = entry_points(group="console_scripts", name="wsgi-coverage")

    assert command.load() is command_module.main


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "wsgi_coverage", "--version"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, f"wsgi-coverage {wsgi_coverage.__version__}\n")
    assert done.stderr == ""


def test_without_a_command_help_goes_to_stderr_and_the_exit_code_is_2(capsys: Output) -> None:
    assert cli.main([]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: wsgi-coverage" in err
    assert "demo" in err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_that_was_asked_for_goes_to_stdout(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert out.startswith("usage: wsgi-coverage")
    assert err == ""


def test_help_lists_every_command(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    listed = capsys.readouterr().out
    for name in COMMAND_NAMES:
        assert f"\n    {name} " in listed


def test_demo_serves_with_two_workers_where_nothing_is_said(demo_calls: list[object]) -> None:
    assert cli.main(["demo"]) == 0

    assert demo_calls == [(None, 2)]


def test_demo_takes_a_port_and_a_number_of_workers(demo_calls: list[object]) -> None:
    assert cli.main(["demo", "--port", "0", "--workers", "5"]) == 0

    assert demo_calls == [(0, 5)]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["demo", "--port", "65536"], "from 0 to 65535, got '65536'"),
        (["demo", "--port", "-1"], "from 0 to 65535, got '-1'"),
        (["demo", "--port", "web"], "from 0 to 65535, got 'web'"),
        (["demo", "--port", "²"], "from 0 to 65535, got '²'"),
        (["run", "--port=65536", "app.py"], "from 0 to 65535, got '65536'"),
        (["run", "--port=-1", "app.py"], "from 0 to 65535, got '-1'"),
        (["run", "--port=http", "app.py"], "from 0 to 65535, got 'http'"),
        (["run", "--port=1.5", "app.py"], "from 0 to 65535, got '1.5'"),
        (["demo", "--workers", "0"], "from 1 to 32, got '0'"),
        (["demo", "--workers", "33"], "from 1 to 32, got '33'"),
        (["dance"], "invalid choice: 'dance'"),
        (["--dance"], "unrecognized arguments: --dance"),
    ],
)
def test_wrong_usage_names_the_rule_and_the_exit_code_is_2(
    arguments: list[str], rule: str, capsys: Output, demo_calls: list[object]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert rule in err
    assert out == ""
    assert demo_calls == []


def test_the_exit_code_is_the_commands_own(
    demo_calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "run", lambda port, workers: 1)

    assert cli.main(["demo"]) == 1


def test_an_error_of_the_project_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def fail(port: int | None, workers: int) -> int:
        raise WsgiCoverageError("no room")

    monkeypatch.setattr(demo_run, "run", fail)

    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "wsgi-coverage: no room\n"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    script = (
        "import sys; from wsgi_coverage import cli; from wsgi_coverage.demo import run; "
        "run.run = lambda *_: [print('x', flush=True) for _ in range(100_000)] and 0; "
        "sys.exit(cli.main(['demo']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()

    with process:
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
