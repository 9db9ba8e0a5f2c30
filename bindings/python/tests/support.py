"""The simulator as the tests drive it: its address, profiles for it, and its control API."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qauth

REPOSITORY = Path(__file__).resolve().parents[3]
SIMULATOR = Path(os.environ.get("QAUTH_SIM") or REPOSITORY / "target/debug/qauth-sim")

CREDENTIALS: dict[str, dict[str, str]] = {
    "quantaprice": {"client_id": "a1b2c3d4e5f6a1b2c3d4e5f6", "client_secret": "0123456789abcdef" * 4},
    "quiqup": {"client_id": "quiqup-client", "client_secret": "quiqup-secret-5f1c"},
    "quable": {"instance": "acme", "username": "api_catalogue", "password": "quable-password-93aa"},
    "quartile": {
        "username": "ops@example.com",
        "password": "quartile-password-2b7e",
        "subscription_key": "quartile-subscription-77c0",
    },
    "qpay": {"client_id": "qpay-machine", "client_secret": "qpay-secret-e41d"},
}
PREFIXES = {vendor: f"/{vendor}" for vendor in CREDENTIALS} | {"quable": "/quable/acme"}
SECRETS = [
    value
    for keys in CREDENTIALS.values()
    for name, value in keys.items()
    if name not in ("instance", "username", "client_id")
]


class Sim:
    """A running simulator."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def post(self, path: str, **body: Any) -> Any:
        return self.send("POST", path, body)

    def fault(self, vendor: str, endpoint: str, **what: Any) -> None:
        self.post("faults", vendor=vendor, endpoint=endpoint, **what)

    def reset(self) -> None:
        self.send("POST", "reset")

    def count(self, vendor: str, counter: str = "token_requests") -> int:
        found: int = self.send("GET", "state")["vendors"][vendor][counter]
        return found

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", "state")["requests"]
        return found

    def wait_for(self, vendor: str, counter: str = "token_requests", *, above: int = 0) -> None:
        """Until a call that waits for its answer has reached the simulator."""
        eventually(lambda: self.count(vendor, counter) > above)

    def profile(self, vendor: str, **keys: Any) -> dict[str, Any]:
        return {"provider": vendor, "base_url": self.url + PREFIXES[vendor], **CREDENTIALS[vendor], **keys}

    def config(self, **more: Any) -> dict[str, Any]:
        return {"profiles": {vendor: self.profile(vendor) for vendor in CREDENTIALS}, **more}

    def engine(self, **more: Any) -> qauth.Engine:
        return qauth.Engine(self.config(**more))


def eventually(true: Callable[[], Any], limit: float = 20) -> None:
    """Waits for something that no signal tells."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def start_sim(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Starts one; it ends when its stdin closes, so also with this process."""
    port_file = folder / "url.txt"
    process = subprocess.Popen(
        [SIMULATOR, "--until-stdin-closes", "--port-file", port_file], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    eventually(lambda: port_file.exists() or process.poll() is not None)
    return process, port_file.read_text().strip()


def forked(work: Callable[[], Any]) -> None:
    """Runs it in a child, which must end well and in time; of a hang it tells the place."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(20)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"


PREAMBLE = """
import asyncio, atexit, gc, os, signal, sys, threading, time
import qauth
from support import Sim, forked
sim = Sim(sys.argv[1])
"""


class Ended:
    """What a child process left."""

    def __init__(self, status: int, out: str, err: str, seconds: float) -> None:
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def cleanly(self) -> str:
        """Its output, if it ended with status 0 and nothing on stderr."""
        assert (self.status, self.err) == (0, ""), f"status {self.status}\n{self.out}\n{self.err}"
        return self.out


class Child:
    """A fresh interpreter that runs a script against the simulator."""

    def __init__(self, sim: Sim, script: str, *arguments: str) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", PREAMBLE + script, sim.url, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            # With its children it is one group, which can be ended as a whole.
            start_new_session=True,
        )

    def end(self, timeout: float = 30) -> Ended:
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # faulthandler tells on stderr where it hangs.
            os.killpg(self.process.pid, signal.SIGABRT)
            out, err = self.process.communicate()
            raise AssertionError(f"the child hangs\n{out}\n{err}") from None
        return Ended(self.process.returncode, out, err, time.monotonic() - self.started)


def run(sim: Sim, script: str, *arguments: str, timeout: float = 30) -> Ended:
    return Child(sim, script, *arguments).end(timeout)
