"""Processes that share a store of files: one login for all, and no lock of one that is gone (fault 73)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Child, Sim, run

QUIET = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
vendor, folder = sys.argv[2:]
engine = sim.engine(store={"kind": "file", "path": folder})
source = engine.source(vendor)
"""

WORKERS = '''
"""What a worker imports: a spawned one makes an engine of its own."""
import multiprocessing, os, sys
from support import Sim

sim = Sim(os.environ["SIM_URL"])
engine = sim.engine(store={"kind": "file", "path": os.environ["STORE"]})

def ask(vendor):
    source = engine.source(vendor)
    return source.token().access_token, source.request("GET", "/").status < 500, os.getpid()

if __name__ == "__main__":
    method, first = sys.argv[1:]
    context = multiprocessing.get_context(method)
    if first == "parent first":
        kept = {vendor: engine.source(vendor).token() for vendor in ("quiqup", "quartile", "quable")}
    for vendor in ("quiqup", "quartile", "quable"):
        with context.Pool(3) as pool:
            results = pool.map(ask, [vendor] * 12, chunksize=1)
            pool.close()
            pool.join()
        tokens = {token for token, _, _ in results} | {engine.source(vendor).token().access_token}
        assert len(tokens) == 1 and all(good for _, good, _ in results), results
'''


@pytest.mark.parametrize("first", ["parent first", "workers first"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_workers_of_a_pool_and_their_parent_share_one_login(
    sim: Sim, tmp_path: Path, method: str, first: str
) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    script = """
import subprocess
program, method, first, folder = sys.argv[2:]
os.environ |= {"SIM_URL": sim.url, "STORE": folder}
command = [sys.executable, "-W", "ignore::DeprecationWarning", program, method, first]
sys.exit(subprocess.run(command, timeout=60).returncode)
"""
    arguments = (str(tmp_path / "workers.py"), method, first, str(tmp_path / "store"))
    run(sim, script, *arguments, timeout=60).cleanly()
    assert {vendor: sim.count(vendor) for vendor in ("quiqup", "quartile", "quable")} == {
        "quiqup": 1,
        "quartile": 1,
        "quable": 1,
    }


def test_a_child_finds_what_its_parent_has_obtained_since(sim: Sim, tmp_path: Path) -> None:
    script = """
go, come = os.pipe()
old = source.token()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os.read(go, 1)
    # The API has told it that its token is no good any more.
    source.invalidate(old)
    os._exit(0 if source.token().access_token == os.read(go, 4096).decode() else 1)
source.invalidate(old)
os.write(come, b"." + source.token().access_token.encode())
assert os.waitpid(child, 0)[1] == 0
"""
    for vendor in ("quiqup", "quartile", "quable"):
        run(sim, QUIET + script, vendor, str(tmp_path / "store")).cleanly()
        assert sim.count(vendor) == 2


@pytest.mark.parametrize("vendor", ["quiqup", "quartile", "quable"])
def test_a_child_of_a_parent_that_was_killed_while_it_renewed_has_the_lease_at_once(
    sim: Sim, tmp_path: Path, vendor: str
) -> None:
    script = """
sim.fault(vendor, "token", delay_ms=60_000)
threading.Thread(target=source.token, daemon=True).start()
while sim.count(vendor) == 0: time.sleep(0.001)
gone, here = os.pipe()
if os.fork() == 0:
    signal.alarm(20)
    os.close(here)
    os.read(gone, 1)
    began = time.monotonic()
    assert source.token(timeout=8).access_token
    # A lease that its holder did not give back lasts ten.
    assert time.monotonic() - began < 5
    print("good", flush=True)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = Child(sim, QUIET + script, vendor, str(tmp_path / "store")).end()
    assert (ended.status, ended.out, ended.err) == (-9, "good\n", "")
    assert sim.count(vendor) == 2


STORM = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
engine = sim.engine(store={"kind": sys.argv[2], "path": sys.argv[3]} if sys.argv[2] == "file" else {"kind": "memory"})
source, other = engine.source("quiqup"), engine.source("qpay")
stop = threading.Event()
def renew(source):
    source.reset()
    source.invalidate(source.token())
def storm(source):
    while not stop.is_set():
        renew(source)
        source.token()
def visit():
    engine.source("quiqup").token()
def visits():
    # Threads that begin and end.
    while not stop.is_set():
        visitors = [threading.Thread(target=visit) for _ in range(4)]
        for visitor in visitors: visitor.start()
        for visitor in visitors: visitor.join()
def child():
    visitor = threading.Thread(target=visit)
    visitor.start()
    visitor.join()
    renew(source)
    assert source.token(timeout=15).access_token
    assert other.token(timeout=15).access_token
threads = [threading.Thread(target=storm, args=(each,)) for each in (source, other)]
threads.append(threading.Thread(target=visits))
for thread in threads: thread.start()
for _ in range(300): forked(child)
stop.set()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("store", ["memory", "file"])
def test_three_hundred_forks_while_tokens_are_renewed_all_the_time(sim: Sim, tmp_path: Path, store: str) -> None:
    ended = run(sim, STORM, store, str(tmp_path / "store"), timeout=110)
    ended.cleanly()
