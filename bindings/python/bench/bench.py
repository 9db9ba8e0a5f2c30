"""What a cached token costs in Python, and a cold start of a thousand callers, beside the usual libraries in one run.

    python -m venv v && v/bin/pip install WHEEL -r requirements.txt && v/bin/python bench.py

Figures are nanoseconds per call, the loop around it included, as the median of interleaved rounds; the last column is
the ratio to the floor above it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import azure.core.pipeline.transport
import azure.core.rest
import azure.identity.aio
import google.auth.transport
import google.oauth2.credentials
import msal
import requests

import qauth

ROUNDS = 15
CALLS = 200_000
SLOW_CALLS = 10_000
CALLERS = 1_000
CLIENT = {"client_id": "a1b2c3d4e5f6a1b2c3d4e5f6", "client_secret": "0123456789abcdef" * 4}
ENDPOINT, FORM = "/quantaprice/oauth2/token", {"grant_type": "client_credentials", **CLIENT}


class Simulator:
    """`qauth sim` as a child process."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            at = os.path.join(folder, "url")
            command = [sys.executable, "-m", "qauth", "sim", "--until-stdin-closes", "--port-file", at]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            while not os.path.exists(at):
                time.sleep(0.01)
            with open(at) as file:
                self.url = file.read().strip()

    def post(self, name: str, body: dict[str, Any]) -> None:
        requests.post(f"{self.url}/_sim/{name}", json=body, timeout=10).raise_for_status()

    def cold(self, delay_ms: int) -> None:
        self.post("reset", {})
        self.post("faults", {"vendor": "quantaprice", "endpoint": "token", "delay_ms": delay_ms, "times": 100_000})

    def token_requests(self) -> int:
        state = requests.get(f"{self.url}/_sim/state", timeout=10).json()
        return int(state["vendors"]["quantaprice"]["token_requests"])

    def token(self) -> dict[str, Any]:
        """What the peers' own transports are made to ask, so that all talk to the same server."""
        answer = requests.post(f"{self.url}{ENDPOINT}", data=FORM, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())


def source(sim: Simulator) -> qauth.TokenSource:
    profile = {"provider": "quantaprice", "base_url": f"{sim.url}/quantaprice", **CLIENT}
    return qauth.Engine({"profiles": {"pricing": profile}}).source("pricing")


def by_msal(sim: Simulator) -> Callable[[], str]:
    class Answer:
        def __init__(self, body: dict[str, Any]) -> None:
            self.status_code, self.text, self.headers = 200, json.dumps(body), {}

        def raise_for_status(self) -> None:
            pass

    class Transport:
        """In place of Microsoft's servers."""

        def get(self, url: str, **_: Any) -> Answer:
            at = "https://login.microsoftonline.com/tenant/oauth2/v2.0"
            return Answer({"authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", "issuer": at})

        def post(self, url: str, **_: Any) -> Answer:
            return Answer({"token_type": "Bearer", **sim.token()})

        def close(self) -> None:
            pass

    client = msal.ConfidentialClientApplication(
        "client",
        client_credential="secret",
        authority="https://login.microsoftonline.com/tenant",
        instance_discovery=False,
        http_client=Transport(),
    )

    def header() -> str:
        return "Bearer " + client.acquire_token_for_client(["https://api.example.com/.default"])["access_token"]

    return header


def by_azure_identity(sim: Simulator) -> azure.identity.aio.ClientSecretCredential:
    class Transport(azure.core.pipeline.transport.AioHttpTransport):
        """Its own, but for the address: an authority must be https."""

        async def send(self, request: Any, **options: Any) -> Any:
            return await super().send(azure.core.rest.HttpRequest("POST", f"{sim.url}{ENDPOINT}", data=FORM), **options)

    return azure.identity.aio.ClientSecretCredential("tenant", "client", "secret", transport=Transport())


def by_google_auth(sim: Simulator) -> Callable[[], str]:
    class Answer(google.auth.transport.Response):
        status, headers, data = 200, {}, b""

        def __init__(self, body: dict[str, Any]) -> None:
            self.data = json.dumps(body).encode()

    def transport(**_: Any) -> Answer:
        return Answer(sim.token())

    credentials = google.oauth2.credentials.Credentials(
        None, refresh_token="refresh", token_uri="https://example.com/token", client_id="client", client_secret="secret"
    )

    def header() -> str:
        headers: dict[str, str] = {}
        credentials.before_request(transport, "GET", "https://api.example.com/", headers)
        return headers["authorization"]

    return header


def by_hand(sim: Simulator) -> Callable[[], str]:
    """The twenty lines that every service has, at their best: a lock, and a look at the clock."""
    lock = threading.Lock()
    kept, until = "", 0.0

    def header() -> str:
        nonlocal kept, until
        if time.time() < until:
            return kept
        with lock:
            if time.time() < until:
                return kept
            answer = sim.token()
            kept, until = f"Bearer {answer['access_token']}", time.time() + answer["expires_in"] - 60
            return kept

    return header


def nanoseconds(subjects: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for round in range(ROUNDS + 1):
        for name, (call, calls) in subjects.items():
            start = time.perf_counter_ns()
            for _ in range(calls):
                call()
            took = (time.perf_counter_ns() - start) / calls
            # The first round warms up.
            if round:
                samples[name].append(took)
    return {name: statistics.median(took) for name, took in samples.items()}


async def awaiting_done(source: qauth.TokenSource) -> tuple[float, float]:
    """`await done_future` and `await source.token_async()`, in bare loops: a call around them would count too."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(1)
    floors, tokens = [], []
    for round in range(ROUNDS + 1):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            await done
        middle = time.perf_counter_ns()
        for _ in range(CALLS):
            await source.token_async()
        end = time.perf_counter_ns()
        if round:
            floors.append((middle - start) / CALLS)
            tokens.append((end - middle) / CALLS)
    return statistics.median(floors), statistics.median(tokens)


def together(calls: Sequence[Callable[[], Any]]) -> float:
    """A thread for each. Milliseconds from the moment when all threads may go until the last one is through."""
    go, ready = threading.Event(), threading.Barrier(len(calls) + 1)
    ends: list[float] = []

    def run(call: Callable[[], Any]) -> None:
        ready.wait()
        go.wait()
        call()
        ends.append(time.perf_counter())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    go.set()
    for thread in threads:
        thread.join()
    assert len(ends) == len(calls), "every caller gets a token"
    return (max(ends) - start) * 1000


async def gathered(callers: int, call: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds from before the first coroutine until after the last one."""
    start = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return (time.perf_counter() - start) * 1000


def mixed(call: Callable[[], Any], call_async: Callable[[], Awaitable[Any]]) -> float:
    """Half of the callers are threads, the others coroutines of two loops."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    turns = [partial(loop.run_until_complete, gathered(CALLERS // 4, call_async)) for loop in loops]
    took = together([call] * (CALLERS // 2) + turns)
    for loop in loops:
        loop.close()
    return took


def cold_starts(sim: Simulator) -> None:
    """A thousand callers at once that find nothing: all are there before the clock starts."""

    def once(name: str) -> float:
        if name == "threads, time.sleep(0.05)":
            return together([lambda: time.sleep(0.05)] * CALLERS)
        if name == "coroutines, asyncio.sleep(0.05)":
            return asyncio.run(gathered(CALLERS, lambda: asyncio.sleep(0.05)))
        if name == "threads, source.token()":
            return together([source(sim).token] * CALLERS)
        if name == "coroutines, source.token_async()":
            return asyncio.run(gathered(CALLERS, source(sim).token_async))
        if name == "threads and coroutines of two loops":
            lent = source(sim)
            return mixed(lent.token, lent.token_async)
        if name == "coroutines, azure-identity":
            return asyncio.run(azure_identity())
        peers = {"threads, by hand": by_hand, "threads, google-auth": by_google_auth, "threads, msal": by_msal}
        return together([peers[name](sim)] * CALLERS)

    async def azure_identity() -> float:
        async with by_azure_identity(sim) as credential:
            return await gathered(CALLERS, lambda: credential.get_token("https://api.example.com/.default"))

    print(f"\n{CALLERS} callers, nothing cached, an endpoint of 50 ms: token requests, ms until the last has its token")
    rounds = {
        "threads, time.sleep(0.05)": 9,
        "threads, source.token()": 9,
        "threads, by hand": 9,
        "threads, google-auth": 1,
        "threads, msal": 1,
        "coroutines, asyncio.sleep(0.05)": 9,
        "coroutines, source.token_async()": 9,
        "coroutines, azure-identity": 1,
        "threads and coroutines of two loops": 9,
    }
    for name, count in rounds.items():
        took, asked = [], []
        for _ in range(count):
            sim.cold(50)
            took.append(once(name))
            asked.append(sim.token_requests())
        print(f"  {name:<44}{max(asked):>10}{statistics.median(took):>9.1f} ms")


def start_up() -> dict[str, float]:
    """Milliseconds of a whole interpreter, median of 15."""
    modules = ["qauth", "requests", "msal", "google.oauth2.credentials"]
    statements = {"bare interpreter": "pass"} | {f"import {module}": f"import {module}" for module in modules}
    samples: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(15):
        for name, statement in statements.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            samples[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(took) for name, took in samples.items()}


def table(title: str, rows: dict[str, float], floor: str) -> None:
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<44}{value:>10.1f}{value / rows[floor]:>9.2f}x")


def main() -> None:
    sim = Simulator()
    lent = source(sim)
    peers = {"msal": by_msal(sim), "google-auth": by_google_auth(sim), "by hand": by_hand(sim)}
    for header in (lent.header, *peers.values()):
        header()
    subjects: dict[str, tuple[Callable[[], Any], int]] = {
        "floor: an empty native method": (lent._empty, CALLS),
        "source.header()": (lent.header, CALLS),
        "source.token()": (lent.token, CALLS),
        "by hand": (peers["by hand"], CALLS),
        "google-auth": (peers["google-auth"], SLOW_CALLS),
        "msal": (peers["msal"], SLOW_CALLS),
    }
    table("cached, ns per call", nanoseconds(subjects), "floor: an empty native method")
    floor, token = asyncio.run(awaiting_done(lent))
    rows = {"floor: await a done future": floor, "await source.token_async()": token}
    table("cached and awaited, ns", rows, "floor: await a done future")

    cold_starts(sim)
    table("start, ms", start_up(), "bare interpreter")
    assert sim.process.stdin is not None
    sim.process.stdin.close()
    sim.process.wait(10)


if __name__ == "__main__":
    main()
