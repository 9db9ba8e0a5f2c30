"""Threads: one request for all who wait, and an interpreter that is free meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import Sim

import qauth


def test_a_thousand_threads_on_an_empty_cache_make_one_request(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=50)
    with sim.engine() as engine:
        source = engine.source("quiqup")
        barrier = threading.Barrier(1000)
        tokens: list[qauth.Token] = []

        def ask() -> None:
            barrier.wait(60)
            tokens.append(source.token())

        threads = [threading.Thread(target=ask) for _ in range(1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(tokens) == 1000
        assert len({id(token) for token in tokens}) == 1
        assert sim.count("quiqup") == 1


def test_the_interpreter_is_free_while_a_call_blocks(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=300)
    with sim.engine() as engine, ThreadPoolExecutor(3) as pool:
        source = engine.source("quiqup")
        calls: list[Any] = [
            pool.submit(source.token),
            pool.submit(source.headers, "GET", "/orders"),
            pool.submit(source.request, "GET", "/orders"),
        ]
        steps = 0
        while not all(call.done() for call in calls):
            steps += 1
            time.sleep(0)
        assert steps > 10
        assert all(call.result() for call in calls)


def test_a_cached_token_is_the_identical_object_in_every_thread(source: qauth.TokenSource) -> None:
    token, header = source.token(), source.header()
    with ThreadPoolExecutor(8) as pool:
        assert {id(value) for value in pool.map(lambda _: source.token(), range(200))} == {id(token)}
        assert {id(value) for value in pool.map(lambda _: source.header(), range(200))} == {id(header)}


def test_a_caller_that_gives_up_leaves_the_others_their_token(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=200)
    with sim.engine() as engine, ThreadPoolExecutor(2) as pool:
        source = engine.source("quiqup")
        patient = pool.submit(source.token)
        impatient = pool.submit(source.token, timeout=0.02)
        assert isinstance(impatient.exception(), qauth.TimeoutError)
        assert patient.result().access_token
        assert sim.count("quiqup") == 1


def test_close_ends_a_call_that_waits(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=10_000)
    engine = sim.engine()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(engine.source("quiqup").token)
        sim.wait_for("quiqup")
        began = time.monotonic()
        engine.close()
        assert isinstance(call.exception(), qauth.ClosedError)
        assert time.monotonic() - began < 2.5


def test_everything_at_once_keeps_its_head(sim: Sim) -> None:
    """Tokens, headers, requests, invalidations and resets from eight threads; only typed errors come out."""
    stop = threading.Event()
    surprises: list[BaseException] = []

    def storm(source: qauth.TokenSource) -> None:
        try:
            while not stop.is_set():
                token = source.token()
                source.header()
                source.headers("GET", "/orders")
                source.request("GET", "/orders")
                source.invalidate(token)
                source.reset()
                repr((token, source, token.extras))
        except qauth.Error as error:
            surprises.append(error)

    with sim.engine() as engine:
        threads = [threading.Thread(target=storm, args=(engine.source("quiqup"),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert surprises == []


@pytest.mark.parametrize("read", [qauth.Engine.profiles, repr])
def test_other_threads_run_while_the_folder_of_profiles_is_read(
    tmp_path: Path, read: Callable[[qauth.Engine], object]
) -> None:
    (tmp_path / "qauth.toml").write_text("")
    (tmp_path / "profiles.d").mkdir()
    for number in range(100):
        (tmp_path / f"profiles.d/p{number}.toml").write_text("")
    engine = qauth.Engine.from_file(tmp_path / "qauth.toml")
    gate, ran, before = threading.Lock(), threading.Event(), sys.getswitchinterval()
    gate.acquire()
    thread = threading.Thread(target=lambda: gate.acquire() and ran.set())
    thread.start()
    # From here on a thread runs only when another one lets go of the interpreter lock by itself.
    sys.setswitchinterval(1000)
    try:
        gate.release()
        end = time.monotonic() + 5
        while not ran.is_set() and time.monotonic() < end:
            read(engine)
        assert ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()
