"""Servers that fork their workers: gunicorn and Celery, as they are installed (fault 73)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import Sim, eventually

WORKERS = 3

APP = """
import json, os, time
import qauth

engine = qauth.Engine.from_file(os.environ["CONFIG"])
source = engine.source("quiqup")
if os.environ["PRELOADED"] == "token":
    source.token()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/rejected":
        source.invalidate(source.token())
    token = source.token().access_token
    status = source.request("GET", "/orders").status
    # Long enough for the others to have their share.
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), token, status]).encode()]
"""

TASKS = """
import json, os, sys, tempfile, threading, time
import celery
import qauth

engine = qauth.Engine.from_file(os.environ["CONFIG"])
source = engine.source("quiqup")
if os.environ["PRELOADED"] == "token":
    source.token()

# A broker in this process, so that whoever sends tasks is here too.
app = celery.Celery("tasks", broker="memory://")
app.conf.broker_transport_options = {"polling_interval": 0.01}
app.conf.worker_prefetch_multiplier = 1
app.conf.worker_redirect_stdouts = False

@app.task
def ask(result, rejected):
    if rejected:
        source.invalidate(source.token())
    answer = os.getpid(), source.token().access_token, source.request("GET", "/orders").status
    with open(result + ".new", "w") as file:
        json.dump(answer, file)
    os.rename(result + ".new", result)

# Sends the tasks of each line all at once, and prints what came of them.
def send():
    for line in sys.stdin:
        folder = tempfile.mkdtemp(dir=os.getcwd())
        results = []
        for number, rejected in enumerate(json.loads(line)):
            results.append(f"{folder}/{number}")
            ask.delay(results[-1], rejected)
        while not all(map(os.path.exists, results)):
            time.sleep(0.005)
        print(json.dumps([json.load(open(result)) for result in results]), flush=True)

threading.Thread(target=send, daemon=True).start()
app.worker_main(sys.argv[1:])
"""


@contextlib.contextmanager
def server(
    arguments: list[str], folder: Path, environment: dict[str, str], **more: Any
) -> Iterator[subprocess.Popen[Any]]:
    """A server that ends well when it is told to."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", *arguments],
            cwd=folder,
            env=environment,
            stderr=output,
            start_new_session=True,
            **({"stdout": output} | more),
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    except BaseException:
        print(log.read_text())
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def prepared(sim: Sim, folder: Path, store: str, preloaded: str) -> dict[str, str]:
    kept = {"kind": "file", "path": str(folder / "store")} if store == "file" else {"kind": "memory"}
    (folder / "qauth.json").write_text(json.dumps(sim.config(store=kept)))
    (folder / "app.py").write_text(APP)
    (folder / "tasks.py").write_text(TASKS)
    return os.environ | {"CONFIG": str(folder / "qauth.json"), "PRELOADED": preloaded}


def each_is_served(sim: Sim, ask: Callable[[list[bool]], list[Any]], store: str) -> None:
    seen: dict[int, str] = {}

    def ask_all() -> bool:
        answers = ask([False] * 4 * WORKERS)
        assert all(status == 200 for _, _, status in answers)
        seen.update({process: token for process, token, _ in answers})
        return len(seen) == WORKERS

    eventually(ask_all)
    assert (len(set(seen.values())), sim.count("quiqup")) == (1, 1), "one login, whoever made it"
    # A worker whose token was rejected: where the store is shared the others have what it obtained.
    [[process, new, status]] = ask([True])
    assert status == 200
    assert new != seen[process]
    assert sim.count("quiqup") == 2
    if store == "file":
        eventually(lambda: {token for _, token, _ in ask([False] * 4 * WORKERS)} == {new})
        assert sim.count("quiqup") == 2


@pytest.mark.parametrize(
    ("store", "preloaded", "kind"),
    [("memory", "token", "sync"), ("file", "token", "gthread"), ("file", "engine", "sync")],
)
def test_gunicorn_with_a_preloaded_application(sim: Sim, tmp_path: Path, store: str, preloaded: str, kind: str) -> None:
    gunicorn(sim, tmp_path, store, preloaded, ["--preload", "--worker-class", kind])


def test_gunicorn_whose_workers_load_the_application_themselves(sim: Sim, tmp_path: Path) -> None:
    gunicorn(sim, tmp_path, "file", "engine", [])


def gunicorn(sim: Sim, folder: Path, store: str, preloaded: str, more: list[str]) -> None:
    environment = prepared(sim, folder, store, preloaded)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, url = listener.fileno(), f"http://127.0.0.1:{listener.getsockname()[1]}"
        arguments = ["-m", "gunicorn", "app:application", "--bind", f"fd://{number}", "--workers", str(WORKERS), *more]

        def ask(rejected: list[bool]) -> list[Any]:
            def one(rejected: bool) -> Any:
                with urllib.request.urlopen(url + ("/rejected" if rejected else "/"), timeout=20) as answer:
                    return json.load(answer)

            with ThreadPoolExecutor(len(rejected)) as threads:
                return list(threads.map(one, rejected))

        with server(arguments, folder, environment, pass_fds=[number]):
            each_is_served(sim, ask, store)


@pytest.mark.parametrize(("store", "preloaded"), [("memory", "token"), ("file", "engine")])
def test_celery_with_a_prefork_pool(sim: Sim, tmp_path: Path, store: str, preloaded: str) -> None:
    environment = prepared(sim, tmp_path, store, preloaded)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments = ["tasks.py", "worker", "--pool", "prefork", "--concurrency", str(WORKERS), *quiet]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with server(arguments, tmp_path, environment, **pipes) as process:
        here, there = process.stdout, process.stdin
        assert here
        assert there

        def ask(rejected: list[bool]) -> list[Any]:
            there.write(json.dumps(rejected).encode() + b"\n")
            there.flush()
            # Behind what Celery says at its start.
            answers: list[Any] = json.loads(next(line for line in here if line.startswith(b"[[")))
            return answers

        each_is_served(sim, ask, store)
