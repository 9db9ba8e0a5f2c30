"""asyncio: no thread per waiter, nothing left behind, and coroutines that behave like any other."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from support import Sim, eventually

import qauth

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


@pytest.fixture
def slow(sim: Sim) -> Iterator[qauth.TokenSource]:
    """A source whose token endpoint takes 50 ms."""
    sim.post("settings", vendor="quiqup", delay_ms=50)
    with sim.engine() as engine:
        yield engine.source("quiqup")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def tasks_of_the_system() -> int:
    return len(os.listdir("/proc/self/task"))


def test_a_thousand_coroutines_on_an_empty_cache_make_one_request(slow: qauth.TokenSource, sim: Sim, run: Run) -> None:
    async def main() -> None:
        tokens = await asyncio.gather(*(slow.token_async() for _ in range(1000)))
        assert len({id(token) for token in tokens}) == 1

    run(main())
    assert sim.count("quiqup") == 1


def test_waiters_start_no_threads(slow: qauth.TokenSource, sim: Sim, run: Run) -> None:
    async def main() -> None:
        slow.invalidate(await slow.token_async())
        # Long enough for a busy machine to start a thousand tasks in.
        sim.post("settings", vendor="quiqup", delay_ms=1000)
        threads, tasks = threading.active_count(), tasks_of_the_system()
        waiting = [asyncio.ensure_future(slow.token_async()) for _ in range(1000)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        assert (threading.active_count(), tasks_of_the_system()) == (threads, tasks)
        await asyncio.gather(*waiting)

    run(main())


def test_the_loop_turns_while_calls_wait(slow: qauth.TokenSource, run: Run) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(slow.token_async())
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0.001)
        assert turns > 2

    run(main())


def test_cancelling_one_of_many_harms_no_other(slow: qauth.TokenSource, sim: Sim, run: Run) -> None:
    async def main() -> None:
        waiting = [asyncio.create_task(slow.token_async()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
        assert all(isinstance(result, qauth.Token) for result in results[1::2])

    run(main())
    assert sim.count("quiqup") == 1


def test_a_renewal_goes_on_when_all_who_waited_are_cancelled(slow: qauth.TokenSource, sim: Sim, run: Run) -> None:
    async def main() -> qauth.Token:
        task = asyncio.create_task(slow.token_async())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await slow.token_async()

    assert run(main()).access_token
    assert sim.count("quiqup") == 1


def test_wait_for_ends_a_wait(slow: qauth.TokenSource, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(slow.token_async(), 0.01)
        assert (await asyncio.wait_for(slow.token_async(), 20)).access_token
        assert (await asyncio.wait_for(slow.token_async(), 20)).access_token

    run(main())


async def awaits(call: Coroutine[Any, Any, Any]) -> Any:
    return await call


async def creates_a_task(call: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.create_task(call, name="one")


async def gathers(call: Coroutine[Any, Any, Any]) -> Any:
    return (await asyncio.gather(call))[0]


async def groups(call: Coroutine[Any, Any, Any]) -> Any:
    if sys.version_info < (3, 11):
        return await call
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call)
    return task.result()


async def waits_for(call: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.wait_for(call, 20)


async def shields(call: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.shield(call)


async def is_sent_from_another_thread(call: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: asyncio.run_coroutine_threadsafe(call, loop).result(20))


@pytest.mark.parametrize(
    "way", [awaits, creates_a_task, gathers, groups, waits_for, shields, is_sent_from_another_thread]
)
@pytest.mark.parametrize("cached", [False, True])
def test_every_way_to_await_takes_a_call(slow: qauth.TokenSource, run: Run, way: Any, cached: bool) -> None:
    if cached:
        slow.token()

    async def main() -> Any:
        return await way(slow.token_async())

    assert run(main()) is slow.token()


@pytest.mark.parametrize("cached", [False, True])
def test_run_takes_a_call_itself(slow: qauth.TokenSource, run: Run, cached: bool) -> None:
    if cached:
        slow.token()
    assert run(slow.token_async()) is slow.token()
    assert run(slow.header_async()) == slow.header()


def test_loops_in_several_threads_share_one_request(slow: qauth.TokenSource, sim: Sim, run: Run) -> None:
    tokens: list[qauth.Token] = []

    def loop() -> None:
        async def main() -> None:
            tokens.extend(await asyncio.gather(*(slow.token_async() for _ in range(10))))

        run(main())

    threads = [threading.Thread(target=loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(tokens) == 80
    assert len({id(token) for token in tokens}) == 1
    assert sim.count("quiqup") == 1


def test_loops_one_after_another_work(slow: qauth.TokenSource, run: Run) -> None:
    for _ in range(3):
        token = run(slow.token_async())
        assert slow.invalidate(token)
        slow.reset()


def test_errors_arrive_as_they_are(sim: Sim, run: Run) -> None:
    with qauth.Engine({"profiles": {"p": sim.profile("quiqup", client_secret="wrong")}}) as engine:
        source = engine.source("p")

        async def main() -> None:
            for call in (source.token_async, source.header_async, lambda: source.request_async("GET", "/orders")):
                with pytest.raises(qauth.InvalidClientError):
                    await call()
            with pytest.raises(qauth.InvalidArgumentError):
                await source.headers_async("GET", "https://example.com/")

        run(main())


def test_close_ends_calls_that_wait(sim: Sim, run: Run) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=10_000)
    engine = sim.engine()

    async def main() -> None:
        task = asyncio.ensure_future(engine.source("quiqup").token_async())
        await asyncio.sleep(0)
        async with engine:
            pass
        with pytest.raises(qauth.ClosedError):
            await task

    run(main())


# Loops that end too early


def loops(policy: str) -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if policy == "uvloop" else asyncio.new_event_loop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_loop_that_ends_with_a_call_under_way_is_freed(slow: qauth.TokenSource, policy: str, closed: bool) -> None:
    loop = loops(policy)
    tasks = [loop.create_task(slow.token_async()), loop.create_task(slow.request_async("GET", "/orders"))]
    loop.run_until_complete(asyncio.sleep(0))
    assert not tasks[0].done()
    for task in tasks:
        # Its warning would be right, and is not the matter here.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    gone = weakref.ref(loop)
    if closed or policy == "uvloop":
        loop.close()
    del loop, tasks, task
    gc.collect()
    assert gone() is None
    # The calls go on without it.
    assert slow.token().access_token


def test_descriptors_do_not_grow_over_loops_that_end_with_calls_under_way(slow: qauth.TokenSource, run: Run) -> None:
    async def main() -> None:
        slow.reset()
        calls = (slow.token_async(), slow.request_async("GET", "/orders"), slow.headers_async("GET", "/orders"))
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        assert not all(task.done() for task in tasks)

    def queues() -> int:
        """The eventfds of loops; sockets come and go with the engine's connections."""
        return sum("eventfd" in target(fd) for fd in os.listdir("/proc/self/fd"))

    def target(fd: str) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            # Closed meanwhile.
            return ""

    slow.token()
    run(main())
    gc.collect()
    before, sockets = queues(), descriptors()
    gc.disable()
    try:
        for _ in range(50):
            run(main())
        # A queue lives as long as its loop, and one more while a call that was given up hears of it.
        eventually(lambda: queues() <= before)
        assert descriptors() < sockets + 40
    finally:
        gc.enable()


def test_a_result_that_comes_after_its_loop_was_closed_does_no_harm(slow: qauth.TokenSource, sim: Sim) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(slow.token_async())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    sim.wait_for("quiqup")
    eventually(lambda: slow.token(timeout=5))
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_an_exception_leaves_no_cycle(sim: Sim, run: Run) -> None:
    with qauth.Engine({"profiles": {"p": sim.profile("quiqup", client_secret="wrong")}}) as engine:
        source = engine.source("p")

        async def main() -> Any:
            try:
                await source.token_async()
            except qauth.Error as error:
                return weakref.ref(error)

        gc.disable()
        try:
            assert run(main())() is None
        finally:
            gc.enable()


# The coroutine of a cached token


def test_a_cached_coroutine_is_known_as_awaitable(source: qauth.TokenSource) -> None:
    import collections.abc
    import inspect

    source.token()
    ready = source.token_async()
    assert inspect.isawaitable(ready)
    assert asyncio.iscoroutine(ready)
    assert isinstance(ready, collections.abc.Awaitable)
    assert isinstance(ready, collections.abc.Coroutine)


def test_a_cached_coroutine_need_not_be_awaited(source: qauth.TokenSource) -> None:
    source.token()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.token_async()
        source.header_async()
        gc.collect()


def test_a_call_that_is_never_awaited_warns_like_any_coroutine_and_sends_nothing(
    source: qauth.TokenSource, sim: Sim
) -> None:
    for call in (source.token_async, source.header_async, lambda: source.request_async("GET", "/orders")):
        with pytest.warns(RuntimeWarning, match="never awaited"):
            call()
    assert sim.count("quiqup", "requests") == 0


def test_a_cached_coroutine_may_be_awaited_again(source: qauth.TokenSource, run: Run) -> None:
    token = source.token()
    ready = source.token_async()

    async def main() -> None:
        assert await ready is token
        assert await ready is token
        assert await asyncio.gather(*(source.token_async() for _ in range(3))) == [token] * 3

    run(main())
    run(main())


def test_send_ends_a_cached_coroutine_with_its_token(source: qauth.TokenSource) -> None:
    token = source.token()
    for advance in (lambda ready: ready.send(None), next, lambda ready: ready.__await__().send(None)):
        with pytest.raises(StopIteration) as caught:
            advance(source.token_async())
        assert caught.value.value is token


def test_throw_raises_what_it_was_given(source: qauth.TokenSource) -> None:
    source.token()
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        source.token_async().throw(error)
    assert caught.value is error
    with pytest.raises(LookupError):
        source.token_async().throw(LookupError)
    with pytest.raises(asyncio.CancelledError):
        source.token_async().throw(asyncio.CancelledError())
    for wrong in ((), (1,), ("canary",), (None,), (object(),), (int,)):
        with pytest.raises(TypeError):
            source.token_async().throw(*wrong)


def test_close_of_a_cached_coroutine_does_nothing(source: qauth.TokenSource) -> None:
    token = source.token()
    ready = source.token_async()
    assert ready.close() is None
    assert asyncio.run(awaits(ready)) is token


def test_a_cached_coroutine_lives_as_long_as_it_is_held(engine: qauth.Engine) -> None:
    source = engine.source("quiqup")
    held = [source.token_async() for _ in range(3) if source.token()]
    tokens = []
    for _ in range(20):
        token = source.token()
        source.invalidate(token)
        engine.advance(120)
        held.append(source.token_async())
        tokens.append(token)
        source.token()
    assert sum(isinstance(call, types.CoroutineType) for call in held) == 20
    for call in held:
        call.close()
    assert len({token.access_token for token in tokens}) == 20


def test_a_token_that_was_replaced_is_given_to_nobody(slow: qauth.TokenSource, run: Run) -> None:
    async def main() -> None:
        old = await slow.token_async()
        slow.invalidate(old)
        new = await slow.token_async()
        assert new.generation > old.generation
        assert await slow.header_async() == new.header_value

    run(main())


def test_time_spent_on_a_cached_token_is_microseconds(source: qauth.TokenSource, run: Run) -> None:
    source.token()

    async def main() -> float:
        began = time.perf_counter()
        for _ in range(10_000):
            await source.token_async()
        return time.perf_counter() - began

    # 20 ns each where nothing else runs; the bound is that of a busy machine without optimisation.
    assert run(main()) < 1
