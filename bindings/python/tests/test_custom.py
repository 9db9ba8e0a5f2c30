"""Token functions of the user's own: where they run, who gets their results and errors, and that nothing hangs."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import threading
import time
import types
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
import uvloop
from support import Sim, eventually, run

import qauth

TOKEN = "canary-1b5e90c7"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def engine() -> Iterator[qauth.Engine]:
    with qauth.Engine() as engine:
        yield engine


@pytest.fixture(params=["asyncio", "uvloop"])
def arun(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


class Counted:
    """A plain function that counts its calls and may take its time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls: list[qauth.TokenCall] = []
        self.threads: list[int] = []
        self.seconds = seconds

    def __call__(self, call: qauth.TokenCall) -> tuple[str, int]:
        self.calls.append(call)
        self.threads.append(threading.get_ident())
        time.sleep(self.seconds)
        return f"{TOKEN}-{len(self.calls)}", 600


class Awaited(Counted):
    """The same as a coroutine function."""

    async def __call__(self, call: qauth.TokenCall) -> tuple[str, int]:  # type: ignore[override]
        self.calls.append(call)
        self.threads.append(threading.get_ident())
        await asyncio.sleep(self.seconds)
        return f"{TOKEN}-{len(self.calls)}", 600


KINDS = pytest.mark.parametrize("kind", [Counted, Awaited])


# What a function takes and gives


def test_a_str_is_a_token(engine: qauth.Engine) -> None:
    token = engine.custom_source("p", lambda: TOKEN).token()
    assert (token.access_token, token.token_type, token.scope, token.extras) == (TOKEN, "Bearer", None, {})
    assert token.expires_in == pytest.approx(300, abs=2)


@pytest.mark.parametrize("seconds", [600, 600.0, timedelta(minutes=10)])
def test_a_tuple_has_the_lifetime_too(engine: qauth.Engine, seconds: Any) -> None:
    token = engine.custom_source("p", lambda: (TOKEN, seconds)).token()
    assert token.expires_in == pytest.approx(600, abs=2)


def test_a_mapping_has_what_a_server_answers(engine: qauth.Engine) -> None:
    answer = {
        "access_token": TOKEN,
        "expires_in": 60,
        "token_type": "MAC",
        "scope": "a b",
        "tenant": "t",
        "more": [1, {"a": None}],
    }
    token = engine.custom_source("p", lambda: types.MappingProxyType(answer)).token()
    assert (token.access_token, token.token_type, token.scope) == (TOKEN, "MAC", "a b")
    assert token.expires_in == pytest.approx(60, abs=2)
    assert token.extras == {"tenant": "t", "more": [1, {"a": None}]}


def test_members_may_be_none_and_lifetimes_come_from_the_profile(engine: qauth.Engine) -> None:
    answer = {"access_token": TOKEN, "expires_in": None, "token_type": None, "scope": None}
    token = engine.custom_source("p", lambda: answer, default_lifetime="90s").token()
    assert (token.token_type, token.scope) == ("Bearer", None)
    assert token.expires_in == pytest.approx(90, abs=2)


def test_the_call_says_for_whom_the_token_is(engine: qauth.Engine) -> None:
    function = Counted()
    source = engine.custom_source("p", function)
    source.token()
    source.scoped(scope="read", audience="api", resource="https://r.example").token()
    first, second = function.calls
    assert (first.profile, first.scope, first.audience, first.resource) == ("p", None, None, None)
    assert (second.profile, second.scope, second.audience, second.resource) == (
        "p",
        "read",
        "api",
        "https://r.example",
    )
    assert repr(first) == '<qauth.TokenCall for "p">'


def one(call: qauth.TokenCall) -> str:
    return f"{TOKEN}-{call.profile}"


async def one_async(call: qauth.TokenCall) -> str:
    return one(call)


class Method:
    def give(self, call: qauth.TokenCall) -> str:
        return one(call)


SHAPES: dict[str, Any] = {
    "no argument": lambda: f"{TOKEN}-p",
    "one": one,
    "one with a default": lambda call=None: f"{TOKEN}-p",
    "any number": lambda *calls: f"{TOKEN}-p",
    "keywords": lambda **more: f"{TOKEN}-p",
    "a coroutine": one_async,
    "a partial": functools.partial(one),
    "a partial of a coroutine": functools.partial(one_async),
    "a native one": functools.partial(format, f"{TOKEN}-p"),
    "a method": Method().give,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_functions_of_any_shape_are_taken(engine: qauth.Engine, shape: str) -> None:
    source = engine.custom_source("p", SHAPES[shape])
    assert source.token().access_token == f"{TOKEN}-p"
    source.invalidate(source.token())
    assert asyncio.run(source.token_async()).access_token == f"{TOKEN}-p"


@pytest.mark.parametrize("wrong", [None, "text", 1, lambda a, b: TOKEN, lambda *, a: TOKEN])
def test_what_is_no_such_function_is_refused_at_once(engine: qauth.Engine, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^function: expected "):
        engine.custom_source("p", wrong)


NONSENSE: dict[str, tuple[Any, str]] = {
    "nothing": (None, "gave NoneType"),
    "bytes": (TOKEN.encode(), "gave bytes"),
    "a list": ([TOKEN, 60], "gave list"),
    "a number": (1, "gave int"),
    "a long tuple": ((TOKEN, 60, "Bearer"), "a tuple of another length"),
    "an empty tuple": ((), "a tuple of another length"),
    "a tuple of numbers": ((1, 2), "int as access_token"),
    "an empty text": ("", "what no token can be"),
    "a line break": (f"{TOKEN}\r\nX-More: 1", "what no token can be"),
    "a space": (f"Bearer {TOKEN}", "what no token can be"),
    "no ascii": (f"{TOKEN}é", "what no token can be"),
    "a surrogate": (f"{TOKEN}\ud800", "what is no text as access_token"),
    "a huge one": (TOKEN * 10_000, "what no token can be"),
    "a negative lifetime": ((TOKEN, -1), "expires_in"),
    "no number": ((TOKEN, float("nan")), "expires_in"),
    "infinity": ((TOKEN, float("inf")), "expires_in"),
    "a huge lifetime": ((TOKEN, 10**400), "expires_in"),
    "a lifetime in words": ((TOKEN, "60s"), "str as expires_in"),
    "a true lifetime": ((TOKEN, True), "bool as expires_in"),
    "no time left": ((TOKEN, 0), "expired"),
    "an empty mapping": ({}, "without access_token"),
    "a mapping the wrong way round": ({TOKEN: 60}, "without access_token"),
    "a token of numbers": ({"access_token": 12}, "int as access_token"),
    "a type of another type": ({"access_token": TOKEN, "token_type": 1}, "int as token_type"),
    "a type with a line break": ({"access_token": TOKEN, "token_type": "A\r\nB: "}, "token_type"),
    "scopes as a list": ({"access_token": TOKEN, "scope": ["a"]}, "list as scope"),
    "no json": ({"access_token": TOKEN, TOKEN: object()}, "no JSON"),
    "keys of another type": ({"access_token": TOKEN, 1: 2}, "no JSON"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_a_protocol_error_that_hides_the_token(engine: qauth.Engine, name: str) -> None:
    given, told = NONSENSE[name]
    source = engine.custom_source("p", lambda: given)
    with pytest.raises(qauth.ProtocolError) as caught:
        source.token()
    assert told in caught.value.message
    assert TOKEN not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    assert caught.value.profile == "p"
    source.reset()
    with pytest.raises(qauth.ProtocolError):
        asyncio.run(source.token_async())


def test_a_mapping_that_raises_is_a_protocol_error(engine: qauth.Engine) -> None:
    class Broken(dict[str, Any]):
        def keys(self) -> Any:
            raise LookupError(TOKEN)

    class Odd:
        def keys(self) -> Any:
            return self

    for given in (types.MappingProxyType(Broken()), Odd()):
        with pytest.raises(qauth.ProtocolError) as caught:
            engine.custom_source(type(given).__name__, lambda given=given: given).token()
        assert TOKEN not in str(caught.value)


def test_a_plain_function_that_gives_a_coroutine_is_told_so(engine: qauth.Engine) -> None:
    async def token() -> str:
        return TOKEN

    with pytest.raises(qauth.ProtocolError, match="gave coroutine"):
        engine.custom_source("p", lambda: token()).token()
    gc.collect()


def test_everything_else_works_as_always(engine: qauth.Engine) -> None:
    function = Counted()
    source = engine.custom_source("p", function, api_base_url="https://api.example")
    assert source.token() is source.token()
    assert source.header() == f"Bearer {TOKEN}-1"
    assert source.headers("GET", "/x")["Authorization"] == f"Bearer {TOKEN}-1"
    assert asyncio.run(source.token_async()) is source.token()
    assert len(function.calls) == 1
    assert source.invalidate(source.token())
    assert source.header() == f"Bearer {TOKEN}-2"
    assert TOKEN not in repr(source) + repr(source.token()) + repr(engine)


def test_a_profile_may_have_the_grant(sim: Sim) -> None:
    config = {"profiles": {"p": {"provider": "custom", "default_lifetime": "50s"}, "other": sim.profile("quiqup")}}
    with qauth.Engine(config) as engine:
        with pytest.raises(qauth.ConfigError, match="custom_source"):
            engine.source("p").token()
        source = engine.custom_source("p", lambda: TOKEN)
        source.reset()
        assert source.token().expires_in == pytest.approx(50, abs=2)
        assert engine.source("p").token() is not None
        with pytest.raises(qauth.ConfigError):
            engine.custom_source("other", lambda: TOKEN)


def test_the_last_function_counts(engine: qauth.Engine) -> None:
    first = engine.custom_source("p", lambda: f"{TOKEN}-a")
    engine.custom_source("p", lambda: f"{TOKEN}-b")
    assert first.token().access_token == f"{TOKEN}-b"


def test_the_processs_own_engine_has_them_too(sim: Sim) -> None:
    # In a process of its own: the engine is made once.
    run(sim, 'assert qauth.custom_source("p", lambda: ("t", 60)).header() == "Bearer t"').cleanly()


# Where it runs


@KINDS
def test_a_call_that_blocks_runs_it_in_its_thread(engine: qauth.Engine, kind: type[Counted]) -> None:
    function = kind()
    source = engine.custom_source("p", function)
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_ident).result()
        pool.submit(source.token).result(20)
    source.invalidate(source.token())
    source.token()
    assert function.threads == [thread, threading.get_ident()]


def test_a_coroutine_function_runs_on_the_loop_that_asks(engine: qauth.Engine, arun: Run) -> None:
    loops = []

    async def token() -> str:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0.001)
        return TOKEN

    source = engine.custom_source("p", token, api_base_url="https://api.example")

    async def main() -> None:
        calls = (source.token_async, source.header_async, lambda: source.headers_async("GET", "/x"))
        for call in calls:
            await call()
            assert loops.pop() is asyncio.get_running_loop()
            assert source.invalidate(await source.token_async())

    arun(main())


def test_a_plain_function_does_not_block_the_loop(engine: qauth.Engine, arun: Run) -> None:
    released = threading.Event()

    def token() -> str:
        assert threading.current_thread() is not threading.main_thread()
        assert released.wait(20)
        return TOKEN

    source = engine.custom_source("p", token)

    async def main() -> None:
        task = asyncio.ensure_future(source.token_async())
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not task.done()
        released.set()
        await task

    arun(main())


@KINDS
def test_one_call_serves_all_threads_and_loops(engine: qauth.Engine, kind: type[Counted]) -> None:
    function = kind(0.02)
    source = engine.custom_source("p", function)

    async def main() -> list[qauth.Token]:
        return await asyncio.gather(*(source.token_async() for _ in range(20)))

    with ThreadPoolExecutor(16) as pool:
        single = [pool.submit(source.token) for _ in range(8)]
        many = [pool.submit(asyncio.run, main()) for _ in range(8)]
        tokens = {id(token.result(20)) for token in single} | {id(t) for loop in many for t in loop.result(20)}
    assert len(tokens) == 1
    assert len(function.calls) == 1


def test_threads_that_wait_do_not_hold_the_interpreter(engine: qauth.Engine) -> None:
    turns = 0

    def token() -> str:
        nonlocal turns
        # Python code that needs the lock again and again.
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            turns += 1
        return TOKEN

    source = engine.custom_source("p", token)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(token) for token in pool.map(lambda _: source.token(), range(8))}) == 1
    assert turns > 100


class Api(BaseHTTPRequestHandler):
    """Rejects the first token."""

    def do_GET(self) -> None:
        good = self.headers["Authorization"] == f"Bearer {TOKEN}-2"
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@KINDS
@pytest.mark.parametrize("way", ["request", "requests", "request_async"])
def test_a_401_of_an_api_calls_the_function_again(
    engine: qauth.Engine, api: str, kind: type[Counted], way: str
) -> None:
    function = kind()
    source = engine.custom_source("p", function, api_base_url=api)
    if way == "request":
        assert source.request("GET", "/x").status == 200
    elif way == "requests":
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{api}/x", auth=source.requests_auth()).status_code == 200
    else:
        assert asyncio.run(source.request_async("GET", "/x")).status == 200
    assert len(function.calls) == 2


# A coroutine and calls that block its loop


def test_a_call_that_blocks_a_loop_is_told_to_await(engine: qauth.Engine, arun: Run) -> None:
    source = engine.custom_source("p", Awaited(), api_base_url="https://api.example")

    async def main() -> qauth.Token:
        calls = (source.token, source.header, lambda: source.headers("GET", "/"), lambda: source.request("GET", "/"))
        for call in calls:
            began = time.monotonic()
            with pytest.raises(qauth.InvalidArgumentError, match="token_async") as caught:
                call()
            assert (caught.value.profile, time.monotonic() - began < 5) == ("p", True)
        # The renewal that this began is there to be taken up.
        return await source.token_async()

    assert arun(main()) is source.token()


def test_a_call_that_blocks_the_loop_under_a_running_coroutine_is_told_too(engine: qauth.Engine, arun: Run) -> None:
    function = Awaited(0.05)
    source = engine.custom_source("p", function)
    other = engine.custom_source("other", Counted(1.5))

    async def main() -> qauth.Token:
        task = asyncio.ensure_future(source.token_async())
        while not function.calls:
            await asyncio.sleep(0.001)
        with pytest.raises(qauth.InvalidArgumentError, match="token_async"):
            source.token()
        # Another source may take its time.
        assert other.token().access_token
        return await task

    assert arun(main()) is source.token()


def test_a_source_of_the_same_name_in_another_engine_may_block_a_coroutine(engine: qauth.Engine, arun: Run) -> None:
    with qauth.Engine() as another:
        inner = another.custom_source("p", Counted(1.5))

        async def function() -> str:
            return inner.token().access_token

        assert arun(engine.custom_source("p", function).token_async()).access_token == inner.token().access_token


def test_a_loop_without_its_executor_still_has_tokens(engine: qauth.Engine) -> None:
    source = engine.custom_source("p", Counted())

    async def main() -> qauth.Token:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        return await source.token_async()

    assert asyncio.run(main()) is source.token()


def test_an_exception_that_nobody_waits_for_any_more_is_let_go(engine: qauth.Engine, arun: Run) -> None:
    class VaultError(Exception):
        pass

    gone: list[weakref.ref[VaultError]] = []
    go_on = threading.Event()

    def function() -> str:
        go_on.wait(20)
        error = VaultError(TOKEN)
        gone.append(weakref.ref(error))
        raise error

    source = engine.custom_source("p", function)

    async def main() -> None:
        with pytest.raises(qauth.TimeoutError):
            await source.token_async(timeout=0.2)
        go_on.set()
        while not gone or gone[0]():
            await asyncio.sleep(0.01)
            gc.collect()

    arun(asyncio.wait_for(main(), 20))


def test_a_call_that_blocks_the_loop_takes_a_plain_function_up_itself(engine: qauth.Engine, arun: Run) -> None:
    function = Counted()
    source = engine.custom_source("p", function)

    async def main() -> None:
        task = asyncio.ensure_future(source.token_async())
        await asyncio.sleep(0)
        assert source.token(timeout=20) is await task

    arun(main())
    assert len(function.calls) == 1


def test_an_executor_whose_threads_all_wait_is_no_deadlock(engine: qauth.Engine, arun: Run) -> None:
    source = engine.custom_source("p", Counted(0.001))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        for _ in range(5):
            waiting = [asyncio.ensure_future(source.token_async()) for _ in range(3)]
            waiting += [loop.run_in_executor(None, source.token) for _ in range(4)]  # type: ignore[list-item]
            tokens = await asyncio.wait_for(asyncio.gather(*waiting), 20)
            source.invalidate(tokens[0])
            source.reset()

    arun(main())


# Exceptions


@KINDS
def test_an_exception_is_everybodys_error_without_its_text(engine: qauth.Engine, kind: type[Counted]) -> None:
    def plain() -> str:
        time.sleep(0.05)
        raise LookupError(TOKEN)

    async def awaited() -> str:
        await asyncio.sleep(0.05)
        raise LookupError(TOKEN)

    source = engine.custom_source("p", plain if kind is Counted else awaited)

    def errors(_: int) -> qauth.Error:
        with pytest.raises(qauth.ProtocolError) as caught:
            source.token()
        return caught.value

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(errors, range(4)))
    for error in found:
        assert error.message == "the token function failed: LookupError"
        assert (error.profile, error.code, error.retryable) == ("p", "protocol", False)
        assert TOKEN not in str(error) + repr(error)
    causes = [error.__cause__ for error in found if error.__cause__]
    assert causes
    assert all(isinstance(cause, LookupError) for cause in causes)


@KINDS
def test_an_exception_is_the_cause_for_those_on_its_loop(engine: qauth.Engine, arun: Run, kind: type[Counted]) -> None:
    thrown = []

    def plain() -> str:
        thrown.append(LookupError(TOKEN))
        raise thrown[-1]

    async def awaited() -> str:
        await asyncio.sleep(0)
        return plain()

    source = engine.custom_source("p", plain if kind is Counted else awaited)

    async def main() -> None:
        results = await asyncio.gather(*(source.token_async() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, qauth.ProtocolError) for result in results)
        assert any(result.__cause__ in thrown for result in results)  # type: ignore[union-attr]
        assert TOKEN not in str(results)

    arun(main())


@KINDS
def test_an_error_of_qauth_keeps_its_code_and_when_to_come_back(engine: qauth.Engine, kind: type[Counted]) -> None:
    def plain() -> str:
        raise qauth.RateLimitedError(TOKEN, retry_after=7.5)

    async def awaited() -> str:
        return plain()

    source = engine.custom_source("p", plain if kind is Counted else awaited)
    with pytest.raises(qauth.RateLimitedError) as caught:
        source.token()
    assert caught.value.message == "the token function failed: RateLimitedError"
    assert caught.value.retry_after == pytest.approx(7.5, abs=0.5)
    assert isinstance(caught.value.__cause__, qauth.RateLimitedError)
    with pytest.raises(qauth.RateLimitedError):
        asyncio.run(source.token_async(timeout=1))


def test_odd_errors_of_qauth_are_errors_all_the_same(engine: qauth.Engine) -> None:
    class OddError(qauth.Error):
        code = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "retry_after":
                return float("nan")
            return super().__getattribute__(name)

    def token() -> str:
        raise OddError(TOKEN)

    with pytest.raises(qauth.ProtocolError, match=r"OddError$"):
        engine.custom_source("p", token).token()


def test_a_failure_is_no_cause_of_another_error(engine: qauth.Engine) -> None:
    def token() -> str:
        raise LookupError

    source = engine.custom_source("p", token)
    with pytest.raises(qauth.ProtocolError):
        source.token()
    source.reset()
    with pytest.raises(qauth.TimeoutError) as caught:
        source.token(timeout=0)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_thread_ends_its_call_and_no_other(engine: qauth.Engine, kind: type[BaseException]) -> None:
    calls = []
    entered, going = threading.Event(), threading.Event()

    def token() -> str:
        calls.append(threading.current_thread())
        if len(calls) == 1:
            entered.set()
            assert going.wait(20)
            raise kind(7)
        return TOKEN

    source = engine.custom_source("p", token)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(source.token)
        assert entered.wait(20)
        second = pool.submit(source.token)
        going.set()
        # A pool's thread keeps even these for the one who asks.
        error = first.exception(20)
        assert type(error) is kind
        assert second.result(20).access_token == TOKEN
    assert len(calls) == 2


@KINDS
def test_ctrl_c_in_a_function_ends_the_call(engine: qauth.Engine, kind: type[Counted]) -> None:
    function = kind(20)
    source = engine.custom_source("p", function)

    def press() -> None:
        eventually(lambda: function.calls)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        source.token()
    assert time.monotonic() - began < 10
    function.seconds = 0
    assert source.token().access_token == f"{TOKEN}-2"


def test_what_ends_a_loop_ends_it(engine: qauth.Engine) -> None:
    async def token() -> str:
        raise SystemExit(3)

    source = engine.custom_source("p", token)
    with pytest.raises(SystemExit):
        asyncio.run(source.token_async())
    engine.custom_source("p", lambda: TOKEN)
    assert source.token().access_token == TOKEN


def test_a_plain_function_that_exits_in_an_executor_is_an_error(engine: qauth.Engine, arun: Run) -> None:
    def token() -> str:
        raise SystemExit(3)

    source = engine.custom_source("p", token)

    async def main() -> None:
        with pytest.raises(qauth.ProtocolError, match=r"SystemExit$"):
            await source.token_async()

    arun(main())


def test_a_coroutine_that_cancels_itself_for_ever_is_an_error(engine: qauth.Engine, arun: Run) -> None:
    calls = []

    async def token() -> str:
        calls.append(1)
        raise asyncio.CancelledError

    source = engine.custom_source("p", token)

    async def main() -> None:
        with pytest.raises(qauth.ProtocolError, match=r"CancelledError$"):
            await source.token_async(timeout=20)

    arun(main())
    assert 1 < len(calls) < 10


# Waiters that come and go


@KINDS
def test_cancelling_one_of_many_harms_no_other(engine: qauth.Engine, arun: Run, kind: type[Counted]) -> None:
    function = kind(0.02)
    source = engine.custom_source("p", function)

    async def main() -> None:
        waiting = [asyncio.create_task(source.token_async()) for _ in range(10)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        while not function.calls:
            await asyncio.sleep(0.001)
        for task in waiting[2::2]:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
        assert all(isinstance(result, qauth.Token) for result in results[1::2])

    arun(main())
    assert len(function.calls) == 1


def test_nobody_waits_and_nobody_is_called(engine: qauth.Engine) -> None:
    function = Counted()
    source = engine.custom_source("p", function)

    async def main() -> None:
        task = asyncio.create_task(source.token_async())
        await asyncio.sleep(0)
        # Its call may lie in the loop's queue by then.
        time.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.02)
        assert function.calls == []
        await source.token_async()

    # uvloop may look at its descriptors first.
    asyncio.run(main())
    assert len(function.calls) == 1


@KINDS
def test_a_loop_that_ends_leaves_the_call_to_others(engine: qauth.Engine, arun: Run, kind: type[Counted]) -> None:
    function = kind(0.2)
    source = engine.custom_source("p", function)

    async def ended() -> None:
        task = asyncio.create_task(source.token_async())
        while not function.calls:
            await asyncio.sleep(0.001)
        task.cancel()

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(arun, ended())
        eventually(lambda: function.calls)
        assert source.token(timeout=20).access_token
        ending.result(20)
    # A coroutine ends with its loop, and is called again; a thread goes on.
    assert len(function.calls) == (2 if kind is Awaited else 1)


@KINDS
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_closed_loop_keeps_the_call_from_nobody(engine: qauth.Engine, kind: type[Counted]) -> None:
    function = kind()
    source = engine.custom_source("p", function)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(source.token_async()) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    time.sleep(0.01)
    loop.close()
    assert source.token(timeout=10).access_token
    assert asyncio.run(source.token_async(timeout=10)) is source.token()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert len(function.calls) == 1


def test_a_loop_that_is_busy_keeps_the_call_from_nobody(engine: qauth.Engine) -> None:
    function = Awaited()
    source = engine.custom_source("p", function)
    release = threading.Event()

    async def busy() -> qauth.Token:
        task = asyncio.create_task(source.token_async())
        await asyncio.sleep(0)
        assert release.wait(20)
        return await task

    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(asyncio.run, busy())
        time.sleep(0.02)
        token = source.token(timeout=10)
        release.set()
        assert blocked.result(20) is token
    assert len(function.calls) == 1


@KINDS
def test_a_wait_ends_at_its_deadline_and_the_call_goes_on(engine: qauth.Engine, kind: type[Counted]) -> None:
    release = threading.Event()

    def plain() -> str:
        assert release.wait(20)
        return TOKEN

    async def awaited() -> str:
        while not release.is_set():
            await asyncio.sleep(0.001)
        return TOKEN

    source = engine.custom_source("p", plain if kind is Counted else awaited)

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(qauth.TimeoutError):
            await source.token_async(timeout=0.05)
        with ThreadPoolExecutor(1) as pool, pytest.raises(qauth.TimeoutError):
            pool.submit(source.token, timeout=timedelta(milliseconds=50)).result(20)
        assert time.monotonic() - began < 5
        release.set()
        assert (await source.token_async(timeout=20)).access_token == TOKEN

    asyncio.run(main())


@KINDS
def test_a_function_that_asks_its_own_source_ends_at_the_deadline(
    engine: qauth.Engine, arun: Run, kind: type[Counted]
) -> None:
    def plain() -> str:
        return source.token(timeout=0.1).access_token

    async def awaited() -> str:
        return (await source.token_async(timeout=0.1)).access_token

    source = engine.custom_source("p", plain if kind is Counted else awaited)
    with pytest.raises(qauth.TimeoutError, match="function failed: TimeoutError"):
        source.token(timeout=10)
    source.reset()

    async def main() -> None:
        with pytest.raises(qauth.TimeoutError, match="function failed: TimeoutError"):
            await source.token_async(timeout=10)

    arun(main())


def test_a_function_may_use_another_source_and_the_engine(engine: qauth.Engine) -> None:
    inner = engine.custom_source("inner", lambda: (TOKEN, 60))

    def token() -> str:
        engine.profiles()
        source.reset()
        return inner.token().access_token

    source = engine.custom_source("p", token)
    assert source.token(timeout=10).access_token == TOKEN


@KINDS
def test_a_function_may_remove_its_source(engine: qauth.Engine, kind: type[Counted]) -> None:
    def plain() -> str:
        assert engine.remove("p")
        return TOKEN

    async def awaited() -> str:
        return plain()

    source = engine.custom_source("p", plain if kind is Counted else awaited)
    with pytest.raises(qauth.ClosedError):
        source.token(timeout=10)
    assert engine.custom_source("p", lambda: TOKEN).token(timeout=10).access_token == TOKEN


@KINDS
def test_a_function_may_close_the_engine(kind: type[Counted]) -> None:
    engine = qauth.Engine()

    def plain() -> str:
        engine.close()
        return TOKEN

    async def awaited() -> str:
        return plain()

    source = engine.custom_source("p", plain if kind is Counted else awaited)
    with pytest.raises(qauth.ClosedError):
        source.token(timeout=10)


def test_close_ends_those_who_wait_for_a_function(arun: Run) -> None:
    engine = qauth.Engine()
    function = Awaited(20)
    source = engine.custom_source("p", function)

    async def main() -> None:
        task = asyncio.ensure_future(source.token_async())
        while not function.calls:
            await asyncio.sleep(0.001)
        async with engine:
            pass
        with pytest.raises(qauth.ClosedError):
            await task

    began = time.monotonic()
    arun(main())
    assert time.monotonic() - began < 10


# Fork and exit

FUNCTIONS = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
calls = []
wait = 0.0
def plain():
    calls.append(os.getpid())
    time.sleep(wait)
    return f"token-{os.getpid()}-{len(calls)}", 600
async def awaited():
    calls.append(os.getpid())
    await asyncio.sleep(wait)
    return f"token-{os.getpid()}-{len(calls)}", 600
engine = qauth.Engine()
"""


@pytest.mark.parametrize("function", ["plain", "awaited"])
def test_a_childs_callers_call_it_in_the_child(sim: Sim, function: str) -> None:
    run(
        sim,
        FUNCTIONS
        + f"""
source = engine.custom_source("p", {function})
token = source.token()
def child():
    assert source.token() is token
    source.invalidate(token)
    assert source.token().access_token == f"token-{{os.getpid()}}-2"
    source.invalidate(source.token())
    assert asyncio.run(source.token_async()).access_token == f"token-{{os.getpid()}}-3"
forked(child)
assert source.token() is token and calls == [os.getpid()]
""",
    ).cleanly()


@pytest.mark.parametrize("function", ["plain", "awaited"])
def test_a_fork_while_it_runs_leaves_it_to_both(sim: Sim, function: str) -> None:
    run(
        sim,
        FUNCTIONS
        + f"""
source = engine.custom_source("p", {function})
wait = 0.3
got = []
thread = threading.Thread(target=lambda: got.append(source.token()))
thread.start()
while not calls: time.sleep(0.001)
def child():
    global wait
    wait = 0.0
    assert str(os.getpid()) in source.token(timeout=10).access_token
forked(child)
thread.join()
assert str(os.getpid()) in got[0].access_token
""",
    ).cleanly()


@pytest.mark.parametrize("function", ["plain", "awaited"])
def test_a_program_ends_while_functions_run(sim: Sim, function: str) -> None:
    ended = run(
        sim,
        FUNCTIONS
        + f"""
source = engine.custom_source("p", {function})
wait = 0.001
def hammer():
    while True:
        try:
            source.invalidate(source.token())
            source.reset()
        except qauth.Error:
            pass
def loops():
    async def main():
        while True:
            try:
                source.invalidate(await source.token_async())
                source.reset()
            except qauth.Error:
                pass
    asyncio.run(main())
for work in (hammer, hammer, loops) if {function == "awaited"} else (hammer, hammer):
    threading.Thread(target=work, daemon=True).start()
while len(calls) < 50: time.sleep(0.001)
""",
    )
    ended.cleanly()


def test_sources_do_not_keep_loops_alive(engine: qauth.Engine) -> None:
    import weakref

    source = engine.custom_source("p", Awaited(20))
    loop = asyncio.new_event_loop()
    task = loop.create_task(source.token_async())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0.05))
    for one_task in asyncio.all_tasks(loop):
        one_task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    gone = weakref.ref(loop)
    del loop, task, one_task
    gc.collect()
    assert gone() is None
    engine.custom_source("p", lambda: TOKEN)
    assert source.token(timeout=10).access_token == TOKEN
