"""The end of a process while an answer is under way that must not be lost: it is stored first (fault 74)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Child, Ended, Sim

import qauth

# A rotating refresh token has been sent, or the login of a single session, and the answer takes a while.
UNDER_WAY = """
vendor, folder = sys.argv[2:]
engine = sim.engine(store={"kind": "file", "path": folder})
source = engine.source(vendor)
print(source.token().generation)
source.invalidate(source.token())
sim.post("settings", vendor=vendor, delay_ms=500)
def wait():
    try:
        source.token()
    except qauth.Error:
        pass
def under_way():
    for _ in range(4):
        threading.Thread(target=wait, daemon=True).start()
    while sim.count(vendor) == 1: time.sleep(0.001)
"""

# A call of the API that needs the token.
GOOD = {"quartile": "/reports", "quable": "/api/products"}

ENDINGS = {
    "sys.exit": ("under_way(); sys.exit(3)", 3),
    "the end of the program": ("under_way()", 0),
    "an exception that nobody catches": ("under_way(); sys.excepthook = lambda *_: None; raise ValueError", 1),
    "a first use of it at the end": ("atexit.register(under_way)", 0),
    "a handler of SIGTERM": (
        """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
threading.Thread(target=lambda: (under_way(), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
wait()
time.sleep(20)
""",
        143,
    ),
    "KeyboardInterrupt": (
        """
sys.excepthook = lambda *_: None
threading.Thread(target=lambda: (under_way(), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
wait()
time.sleep(20)
""",
        -signal.SIGINT,
    ),
    "a loop that is given up": (
        """
async def main():
    calls = [asyncio.create_task(source.token_async()) for _ in range(4)]
    await asyncio.to_thread(under_way)
asyncio.run(main())
""",
        0,
    ),
    "close": ("under_way(); engine.close()", 0),
}


def ended(sim: Sim, folder: Path, vendor: str, ending: str) -> Ended:
    return Child(sim, UNDER_WAY + ending, vendor, str(folder / "store")).end()


@contextlib.contextmanager
def next_process(sim: Sim, folder: Path, vendor: str) -> Iterator[qauth.TokenSource]:
    sim.post("settings", vendor=vendor, delay_ms=0)
    with sim.engine(store={"kind": "file", "path": str(folder / "store")}) as engine:
        yield engine.source(vendor)


@pytest.mark.parametrize(
    ("vendor", "name"),
    [*(("quartile", name) for name in ENDINGS), ("quable", "sys.exit"), ("quable", "KeyboardInterrupt")],
)
def test_what_is_under_way_is_stored_before_the_process_ends_by(
    sim: Sim, tmp_path: Path, vendor: str, name: str
) -> None:
    ending, status = ENDINGS[name]
    end = ended(sim, tmp_path, vendor, ending)
    assert (end.status, end.err) == (status, "")
    with next_process(sim, tmp_path, vendor) as source:
        assert source.token().generation > int(end.out), "the one that was under way"
        assert source.request("GET", GOOD[vendor]).status == 200
    assert sim.count(vendor) == 2, "the next process asks nobody"


def test_a_process_that_has_waited_long_enough_ends(sim: Sim, tmp_path: Path) -> None:
    end = ended(sim, tmp_path, "quartile", "sim.post('settings', vendor=vendor, delay_ms=60_000); under_way()")
    assert (end.status, end.err) == (0, "")
    assert end.seconds < 10


def test_a_child_does_not_wait_at_its_end_for_what_its_parent_does(sim: Sim, tmp_path: Path) -> None:
    script = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
under_way()
began = time.monotonic()
if os.fork() == 0: sys.exit(5)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
assert time.monotonic() - began < 1.5, "else it would be two seconds"
os._exit(0)
"""
    sim_waits = "sim.post('settings', vendor=vendor, delay_ms=60_000)"
    end = ended(sim, tmp_path, "quartile", sim_waits + script)
    assert (end.status, end.err) == (0, "")


def test_sigterm_without_a_handler_ends_a_process_at_once_and_the_next_one_goes_on(sim: Sim, tmp_path: Path) -> None:
    kill = "sim.post('settings', vendor=vendor, delay_ms=60_000); under_way(); os.kill(os.getpid(), signal.SIGTERM)"
    for vendor in ("quartile", "quable"):
        end = ended(sim, tmp_path, vendor, kill + "; time.sleep(20)")
        assert (end.status, end.err) == (-signal.SIGTERM, "")
        # Of the token that it was replacing the next one knows no better, until the API rejects it.
        with next_process(sim, tmp_path, vendor) as source:
            source.invalidate(source.token())
            assert source.request("GET", GOOD[vendor]).status == 200
        assert sim.count(vendor) == 3
        # The refresh token may be spent: it is not sent again.
        assert sim.count(vendor, "reuse_detected") == 0
