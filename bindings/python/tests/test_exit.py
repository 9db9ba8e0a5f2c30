"""The end of the interpreter: status 0, nothing on stderr, no waiting, whatever is under way."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Child, Sim, run

SOURCE = 'engine = sim.engine(); source = engine.source("quiqup")\n'
IN_THREADS = """
def start(work, count=1):
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
"""

ENDINGS = {
    "nothing was used": "",
    "after use": "source.token(); asyncio.run(source.request_async('GET', '/orders'))",
    "a daemon thread waits": """
start(source.token)
while sim.count("quiqup") == 0: time.sleep(0.001)
""",
    "daemon threads wait for everything": """
start(source.token, 5)
start(lambda: source.request("GET", "/orders"), 5)
start(lambda: source.headers("GET", "/orders"), 5)
start(lambda: asyncio.run(source.token_async()), 5)
while sim.count("quiqup") == 0: time.sleep(0.001)
""",
    "a loop ended with calls pending": """
async def main():
    asyncio.create_task(source.token_async())
    asyncio.create_task(source.request_async("GET", "/orders"))
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "a thread calls sys.exit": """
def leave():
    start(source.token)
    sys.exit(3)
thread = threading.Thread(target=leave)
thread.start()
thread.join()
""",
    "close in atexit": """
def closed():
    try:
        source.token()
    except qauth.ClosedError:
        pass
start(closed)
while sim.count("quiqup") == 0: time.sleep(0.001)
atexit.register(engine.close)
""",
    "os._exit": """
start(source.token)
while sim.count("quiqup") == 0: time.sleep(0.001)
os._exit(0)
""",
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_at_once_when(sim: Sim, name: str) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=0 if name in ("nothing was used", "after use") else 10_000)
    ended = run(sim, SOURCE + IN_THREADS + ENDINGS[name])
    assert ended.cleanly() == ""
    assert ended.seconds < 2.5, "half a second is for the start"


def test_a_renewal_in_the_background_holds_nobody_up(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", lifetime=4)
    ended = run(
        sim,
        SOURCE
        + """
source.token()
sim.post("settings", vendor="quiqup", delay_ms=10_000)
# Behind the caller's back, at 80 to 90 % of 4 seconds.
while sim.count("quiqup") < 2:
    time.sleep(0.005)
    source.token()
print(time.monotonic())
""",
    )
    ended.cleanly()


HAMMERING = """
work = [
    source.token,
    lambda: source.token(timeout=1),
    lambda: source.invalidate(source.token()),
    lambda: source.request("GET", "/orders"),
    lambda: source.headers("GET", "/orders"),
    lambda: asyncio.run(source.token_async()),
    source.reset,
]
def hammer(one):
    while True:
        try:
            one()
        except qauth.Error:
            pass
for one in work * 2:
    threading.Thread(target=hammer, args=(one,), daemon=True).start()
while sim.count("quiqup", "api_requests") < 3: time.sleep(0.001)
time.sleep(float(sys.argv[2]))
"""


def hammered(sim: Sim, rounds: int, delay_ms: int, closing: str = "") -> None:
    """Ends programs whose daemon threads are in the middle of everything, two at a time."""
    sim.post("settings", vendor="quiqup", delay_ms=delay_ms, api_delay_ms=delay_ms)
    for number in range(0, rounds, 2):
        children = [Child(sim, SOURCE + HAMMERING + closing, str((number + i) % 10 / 500)) for i in range(2)]
        for child in children:
            child.end().cleanly()


@pytest.mark.parametrize("delay_ms", [0, 3])
def test_calls_that_return_during_the_end_do_no_harm(sim: Sim, delay_ms: int) -> None:
    hammered(sim, 8, delay_ms)


def test_calls_during_close_at_the_end_do_no_harm(sim: Sim) -> None:
    hammered(sim, 6, 1, "atexit.register(engine.close)")


AFTER_THE_END = """
import ctypes, logging
libc = ctypes.CDLL(None)
# When the interpreter has ended, its daemon threads go on for half a second.
libc.__cxa_atexit(libc.usleep, ctypes.c_void_p(500_000), None)
"""


def test_a_token_function_whose_turn_comes_after_the_end_does_no_harm(sim: Sim, tmp_path: Path) -> None:
    slow, key = tmp_path / "slow", tmp_path / "key"
    slow.write_text("#!/bin/sh\nsleep 0.3\necho slow\n")
    slow.chmod(0o700)
    key.write_text("first")
    script = """
slow, key = sys.argv[2:]
provider = {
    "name": "own",
    "environments": {"default": {}},
    "grants": {"custom": {}},
    "credentials": {"key": {"secret": True}, "slow": {}},
    "attach": {"headers": {"X-Key": "{key}", "X-Slow": "{slow}"}},
}
own = {"provider": provider, "api_base_url": "https://api.example.com", "key": "file:" + key, "slow": "cmd:" + slow}
source = qauth.Engine({"allow_commands": True, "profiles": {"own": own}}).custom_source("own", lambda: "t")
source.invalidate(source.token())
# The profile is built anew before the function is called.
with open(key, "w") as file:
    file.write("another")
threading.Thread(target=source.token, daemon=True).start()
time.sleep(0.1)
"""
    assert run(sim, AFTER_THE_END + script, str(slow), str(key)).cleanly() == ""


def test_a_thread_that_looks_for_signals_after_the_end_does_no_harm(sim: Sim) -> None:
    # The call looks every 50 ms, since it blocks the loop that runs its own function. One that looks while the end is
    # under way is put to sleep by it; the test is of those that look later.
    script = """
blocks = threading.Event()
async def function():
    await asyncio.sleep(60)
source = qauth.Engine().custom_source("own", function)
async def main():
    task = asyncio.create_task(source.token_async())
    await asyncio.sleep(0.05)
    blocks.set()
    source.token()
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
blocks.wait()
time.sleep(float(sys.argv[2]))
"""
    for first in range(0, 12, 4):
        delays = [0.052 + number * 0.004 for number in range(first, first + 4)]
        for child in [Child(sim, AFTER_THE_END + script, str(delay)) for delay in delays]:
            assert child.end().cleanly() == ""


def test_a_hook_that_hears_of_a_failing_log_handler_when_the_end_comes_does_no_harm(sim: Sim) -> None:
    script = """
inside = threading.Event()
class Failing(logging.Handler):
    def handle(self, record):
        raise ValueError
def hook(unraisable, sleep=time.sleep):
    inside.set()
    sleep(0.2)
sys.unraisablehook = hook
logging.getLogger("qauth").addHandler(Failing())
logging.getLogger("qauth").setLevel(logging.DEBUG)
source = qauth.Engine().custom_source("own", lambda: "t")
threading.Thread(target=source.token, daemon=True).start()
inside.wait()
"""
    assert run(sim, AFTER_THE_END + script).cleanly() == ""


def test_an_atexit_handler_may_use_the_source(sim: Sim) -> None:
    ended = run(
        sim,
        SOURCE
        + """
@atexit.register
def report():
    print(source.request("POST", "/echo", body="bye").status, asyncio.run(source.token_async()) is source.token())
""",
    )
    assert ended.cleanly() == "200 True\n"


def test_what_lives_in_globals_and_cycles_may_use_the_source_to_the_end(sim: Sim) -> None:
    """Modules are taken apart meanwhile, and whether a call still works is left open; that nothing breaks is not."""
    ended = run(
        sim,
        SOURCE
        + """
class Last:
    def __init__(self, source):
        self.source, self.me = source, self
    def __del__(self, kinds=(Exception,)):
        for call in (self.source.token, self.source.header, lambda: self.source.headers("GET", "/orders"),
                     lambda: self.source.request("GET", "/orders"), lambda: self.source.invalidate(self.source.token()),
                     lambda: self.source.token(), lambda: repr(self.source), lambda: self.source.call("nothing")):
            try:
                call()
            except kinds:
                pass
kept = Last(source)
source.token()
kept_token, kept_ready, kept_headers = source.token(), source.token_async(), source.headers("GET", "/orders")
other = Last(sim.engine().source("quiqup"))
sys.modules["kept"] = Last(source)
""",
    )
    assert ended.cleanly() == ""
    assert ended.seconds < 3
