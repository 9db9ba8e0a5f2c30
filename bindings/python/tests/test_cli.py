"""The command line that the wheel carries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import CREDENTIALS, PREFIXES, Sim

import qauth

MODULE = [sys.executable, "-m", "qauth"]
SCRIPT = [str(Path(sys.executable).with_name("qauth"))]


@pytest.fixture
def configured(sim: Sim, tmp_path: Path) -> dict[str, str]:
    """An environment in which QAUTH_CONFIG names profiles for the simulator."""
    lines = []
    for vendor, keys in CREDENTIALS.items():
        lines += [f"[profiles.{vendor}]", f'provider = "{vendor}"', f'base_url = "{sim.url}{PREFIXES[vendor]}"']
        lines += [f'{name} = "{value}"' for name, value in keys.items()]
    lines += [
        "[profiles.wrong]",
        'provider = "quiqup"',
        f'base_url = "{sim.url}/quiqup"',
        'client_id = "a"',
        'client_secret = "b"',
    ]
    config = tmp_path / "qauth.toml"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    return {**os.environ, "QAUTH_CONFIG": str(config)}


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_the_version_is_printed(command: list[str]) -> None:
    ended = run([*command, "--version"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"qauth {qauth.__version__}\n", "")


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_the_providers_are_listed(command: list[str]) -> None:
    ended = run([*command, "providers"])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(vendor in ended.stdout for vendor in CREDENTIALS)


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_a_token_is_printed(command: list[str], configured: dict[str, str], sim: Sim) -> None:
    ended = run([*command, "token", "quiqup"], configured)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.strip()) > 10
    assert ended.stdout.count("\n") == 1
    assert sim.count("quiqup") == 1


def test_a_request_prints_the_answer(configured: dict[str, str]) -> None:
    ended = run([*MODULE, "request", "quiqup", "GET", "/orders"], configured)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_an_error_is_a_status_and_a_line(command: list[str], configured: dict[str, str]) -> None:
    ended = run([*command, "token", "wrong"], configured)
    assert ended.returncode not in (0, 1, 101)
    assert ended.returncode > 0
    assert ended.stdout == ""
    assert "invalid_client" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_command_line_is_status_2() -> None:
    ended = run([*MODULE, "--bogus"])
    assert ended.returncode == 2
    assert "bogus" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_argument_of_any_bytes_is_an_error_and_no_crash() -> None:
    ended = subprocess.run([*MODULE, "token", b"\xff\xfe"], capture_output=True, timeout=30)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr


def test_ctrl_c_ends_the_simulator(tmp_path: Path) -> None:
    process = subprocess.Popen([*MODULE, "sim"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "listening on http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode in (-signal.SIGINT, 0, 130)
    assert err == ""


@pytest.mark.parametrize("command", [["providers"], ["--help"], ["token", "quiqup"]], ids=" ".join)
def test_a_closed_pipe_is_quiet(command: list[str], configured: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([*MODULE, *command], stdout=write, stderr=subprocess.PIPE, text=True, env=configured)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert err == ""
    assert process.returncode in (0, 1, 141, -signal.SIGPIPE)


def test_the_demo_prints_a_line_per_vendor(configured: dict[str, str]) -> None:
    demo = Path(__file__).resolve().parents[3] / "examples/python/demo.py"
    ended = run([sys.executable, str(demo)], configured)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert [line[0] for line in lines] == ["quantaprice", "quiqup", "quable", "quartile", "qpay"]
    assert all(int(line[1]) > 0 and line[2] == "200" for line in lines)


def test_the_demo_tells_an_error_in_a_line() -> None:
    demo = Path(__file__).resolve().parents[3] / "examples/python/demo.py"
    ended = run([sys.executable, str(demo)])
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_example_definitions_come_with_the_package_and_are_correct() -> None:
    examples = sorted((Path(qauth.__file__).parent / "providers").glob("*.toml"))
    assert len(examples) == 20
    for example in examples:
        done = run([*SCRIPT, "providers", "check", str(example)])
        assert done.returncode == 0, done.stderr
