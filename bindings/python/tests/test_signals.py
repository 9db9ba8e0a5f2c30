"""Signals: what Ctrl-C and handlers of the program's own do to a call that blocks."""

from __future__ import annotations

import signal
import time

import pytest
from support import Child, Sim

WAITS = {
    "token": "source.token()",
    "headers": "source.headers('GET', '/orders')",
    "header": "source.header()",
    "request": "source.request('GET', '/orders')",
    "request of a slow API": "source.token(); source.request('GET', '/orders')",
    "call": "sim.engine().source('quartile').call('validate')",
    "asyncio": "asyncio.run(source.token_async())",
    "asyncio request": "asyncio.run(source.request_async('GET', '/orders'))",
    "requests": "import requests; requests.get(sim.url + '/quiqup/orders', auth=source.requests_auth())",
}


def slow(sim: Sim, waits: str) -> tuple[str, str]:
    """Makes the endpoint slow; returns the vendor and the counter that tells that it was reached."""
    vendor = "quartile" if "quartile" in waits else "quiqup"
    slow_api = "source.token();" in waits
    sim.post("settings", vendor=vendor, **{"api_delay_ms" if slow_api else "delay_ms": 10_000})
    return vendor, "api_requests" if slow_api else "token_requests"


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_a_call_at_once(sim: Sim, name: str) -> None:
    vendor, counter = slow(sim, WAITS[name])
    child = Child(
        sim,
        f"""
source = sim.engine().source("quiqup")
try:
    {WAITS[name]}
except KeyboardInterrupt:
    print("interrupted")
""",
    )
    sim.wait_for(vendor, counter)
    began = time.monotonic()
    child.process.send_signal(signal.SIGINT)
    assert child.end().cleanly() == "interrupted\n"
    # The call ends at once; the process, with an answer under way that must not be lost, two seconds later.
    assert time.monotonic() - began < (3 if vendor == "quartile" else 1)


def test_a_handler_that_only_records_lets_the_call_go_on(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=600)
    child = Child(
        sim,
        """
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(time.monotonic()))
source = sim.engine().source("quiqup")
assert source.token().access_token
print(len(seen), time.monotonic() - seen[0] > 0.2)
""",
    )
    sim.wait_for("quiqup")
    child.process.send_signal(signal.SIGUSR1)
    assert child.end().cleanly() == "1 True\n"


def test_what_a_handler_raises_ends_the_call_and_the_renewal_goes_on(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=500)
    ended = Child(
        sim,
        """
def expired(*_): raise LookupError("mine")
signal.signal(signal.SIGALRM, expired)
signal.setitimer(signal.ITIMER_REAL, 0.2)
source = sim.engine().source("quiqup")
try:
    source.token()
except LookupError:
    print("raised", bool(source.token().access_token))
""",
    ).end()
    assert ended.cleanly() == "raised True\n"
    assert sim.count("quiqup") == 1


def test_no_handler_of_the_program_is_replaced(sim: Sim) -> None:
    child = Child(
        sim,
        """
# libc takes a signal of its own for the first thread, whoever starts it.
threading.Thread(target=int).start()
numbers = [n for n in range(1, 65) if n not in (9, 19, 32, 33)]
before = [(n, signal.getsignal(n)) for n in numbers]
ignored = [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
source = sim.engine().source("quiqup")
source.token(); source.request("GET", "/orders"); asyncio.run(source.request_async("GET", "/orders"))
assert before == [(n, signal.getsignal(n)) for n in numbers]
assert ignored == [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
""",
    )
    child.end().cleanly()
