"""All who wait for one renewal: threads, and coroutines of several loops; each gives up in its own way."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvloop

import qauth

FEW = 20


class Held:
    """A token server that answers everybody, once it is told to."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.requests = 0
        self.asked, self.released = threading.Event(), threading.Event()
        held, answer = self, json.dumps(body).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                held.requests += 1
                held.asked.set()
                held.released.wait(60)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def engine(self) -> qauth.Engine:
        endpoint = f"http://127.0.0.1:{self.server.server_port}/token"
        keys = {"provider": "oauth2", "token_endpoint": endpoint, "client_id": "c", "client_secret": "s"}
        return qauth.Engine({"profiles": {"p": keys}})


@pytest.fixture(params=[(200, {"access_token": "shared", "expires_in": 3600}), (401, {"error": "invalid_client"})])
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    held = Held(*request.param)
    yield held
    held.released.set()
    held.server.shutdown()
    held.server.server_close()


GIVEN_UP = (qauth.Error, asyncio.CancelledError, asyncio.TimeoutError)


def heard(call: Callable[[], qauth.Token]) -> str:
    """The token, or the name of the error."""
    try:
        return call().access_token
    except GIVEN_UP as error:
        return type(error).__name__


async def awaited(call: Any) -> str:
    """The same of a coroutine."""
    try:
        token: qauth.Token = await call
    except GIVEN_UP as error:
        return type(error).__name__
    return token.access_token


async def crowd(source: qauth.TokenSource, gone: threading.Barrier) -> list[str]:
    """What the patient ones of a loop hear; the others are gone when the barrier falls."""
    patient = [asyncio.ensure_future(awaited(source.token_async())) for _ in range(FEW)]
    hurried = [asyncio.ensure_future(awaited(source.token_async(timeout=0.05))) for _ in range(FEW)]
    bounded = [asyncio.ensure_future(awaited(asyncio.wait_for(source.token_async(), 0.05))) for _ in range(FEW)]
    cancelled = [asyncio.ensure_future(awaited(source.token_async())) for _ in range(FEW)]
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    assert await asyncio.gather(*hurried) == [qauth.TimeoutError.__name__] * FEW
    assert await asyncio.gather(*bounded) == [asyncio.TimeoutError.__name__] * FEW
    assert await asyncio.gather(*cancelled) == [asyncio.CancelledError.__name__] * FEW
    await asyncio.get_running_loop().run_in_executor(None, gone.wait, 30)
    return list(await asyncio.gather(*patient))


async def dies(source: qauth.TokenSource) -> None:
    """Leaves its loop, which closes with calls under way."""
    waiting = [asyncio.ensure_future(source.token_async()) for _ in range(FEW)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    raise LookupError("the loop's own fault")


def test_threads_and_loops_share_one_answer_whoever_gives_up(held: Held) -> None:
    runs: list[Callable[[Coroutine[Any, Any, Any]], Any]] = [asyncio.run, uvloop.run]
    gone = threading.Barrier(len(runs) + 1)
    with held.engine() as engine, ThreadPoolExecutor(2 * FEW + len(runs)) as pool:
        source = engine.source("p")
        loops = [pool.submit(run, crowd(source, gone)) for run in runs]
        threads = [pool.submit(heard, source.token) for _ in range(FEW)]
        hurried = [pool.submit(heard, lambda: source.token(timeout=0.05)) for _ in range(FEW)]
        for run in runs:
            with pytest.raises(LookupError):
                run(dies(source))
        assert {call.result(30) for call in hurried} == {qauth.TimeoutError.__name__}
        assert held.asked.wait(30)
        gone.wait(30)
        held.released.set()
        all_heard = [call.result(30) for call in threads] + [text for loop in loops for text in loop.result(30)]
    assert len(all_heard) == (1 + len(runs)) * FEW
    assert len(set(all_heard)) == 1
    assert set(all_heard) <= {"shared", qauth.InvalidClientError.__name__}
    assert held.requests == 1
