"""fork and the pools of multiprocessing: a child uses what its parent made."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Child, Sim, run

# fork with other threads alive is what these tests are about; newer interpreters warn of it.
QUIET = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
source = sim.engine().source("quiqup")
"""


def test_a_child_serves_its_parents_token_without_a_request(sim: Sim) -> None:
    run(
        sim,
        QUIET
        + """
token = source.token()
def child():
    assert source.token() is token and source.header() == token.header_value
    assert asyncio.run(source.token_async()) is token
    assert source.headers("GET", "/orders").generation == token.generation
forked(child)
assert source.token() is token
""",
    ).cleanly()
    assert sim.count("quiqup") == 1


def test_a_child_obtains_a_token_of_its_own(sim: Sim) -> None:
    run(
        sim,
        QUIET
        + """
token = source.token()
def child():
    assert source.invalidate(token)
    new = source.token()
    assert new.generation > token.generation and new.access_token != token.access_token
    assert source.request("GET", "/orders").status == 200
    assert asyncio.run(source.request_async("GET", "/orders")).status == 200
forked(child)
assert source.token() is token, "what the child does is its own"
""",
    ).cleanly()
    assert sim.count("quiqup") == 2


def test_a_generation_names_one_token_in_a_child_too(sim: Sim) -> None:
    # What is kept by its generation would else be given for another token.
    run(
        sim,
        QUIET
        + """
old, header = source.token(), source.header()
assert source.invalidate(old)
def child():
    assert source.token().generation > old.generation and source.header() != header
forked(child)
""",
    ).cleanly()


def test_a_child_renews_what_has_expired(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", lifetime=1)
    run(
        sim,
        QUIET
        + """
token = source.token()
def child():
    while token.expires_in:
        time.sleep(0.01)
    assert source.token().access_token != token.access_token
forked(child)
""",
    ).cleanly()


def test_a_fork_before_the_first_use_works(sim: Sim) -> None:
    run(sim, QUIET + "forked(source.token); forked(source.token); source.token()").cleanly()
    assert sim.count("quiqup") == 3


def test_a_child_of_a_child_works(sim: Sim) -> None:
    run(
        sim,
        QUIET
        + """
token = source.token()
def renew():
    before = source.token()
    assert source.invalidate(before) and source.token().generation > before.generation
def child():
    forked(renew)
    renew()
    forked(renew)
forked(child)
renew()
""",
    ).cleanly()


def test_a_fork_while_another_thread_renews_works(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=400)
    ended = Child(
        sim,
        QUIET
        + """
got = []
thread = threading.Thread(target=lambda: got.append(source.token()))
thread.start()
while sim.count("quiqup") == 0:
    time.sleep(0.001)
began = time.monotonic()
forked(lambda: [source.token(), source.request("GET", "/orders")])
thread.join()
assert got[0].access_token
""",
    ).end()
    ended.cleanly()
    assert sim.count("quiqup") == 2


def test_a_fork_while_a_loop_has_calls_under_way_works(sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=200)
    run(
        sim,
        QUIET
        + """
def child():
    # The parent's loop is not the child's to run.
    asyncio.events._set_running_loop(None)
    async def main():
        return await asyncio.gather(source.token_async(), source.request_async("GET", "/orders"))
    token, response = asyncio.run(main())
    assert token.access_token and response.status == 200
async def main():
    tasks = [asyncio.create_task(source.token_async()) for _ in range(10)]
    await asyncio.sleep(0.05)
    forked(child)
    tokens = await asyncio.gather(*tasks)
    assert len({id(token) for token in tokens}) == 1
asyncio.run(main())
""",
    ).cleanly()


def test_a_child_closes_what_its_parent_goes_on_using(sim: Sim) -> None:
    run(
        sim,
        """
engine = sim.engine()
source = engine.source("quiqup")
source.token()
def child():
    engine.close()
    try:
        source.token()
    except qauth.ClosedError:
        return
    raise AssertionError
forked(child)
source.invalidate(source.token())
assert source.token().access_token
""",
    ).cleanly()


def test_a_child_may_end_like_any_program(sim: Sim) -> None:
    """Not by os._exit but through the interpreter's own end."""
    run(
        sim,
        QUIET
        + """
source.token()
child = os.fork()
if child == 0:
    signal.alarm(20)
    source.invalidate(source.token())
    source.token()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
""",
    ).cleanly()


def test_fifty_forks_under_load_do_not_hang(sim: Sim) -> None:
    run(
        sim,
        QUIET
        + """
stop = threading.Event()
def storm():
    while not stop.is_set():
        token = source.token()
        source.invalidate(token)
        source.reset()
        source.request("GET", "/orders")
        source.header()
def loops():
    async def main():
        await asyncio.gather(*(source.token_async() for _ in range(5)), source.request_async("GET", "/orders"))
    while not stop.is_set():
        asyncio.run(main())
def child():
    source.reset()
    token = source.token()
    source.invalidate(token)
    source.reset()
    assert source.token().access_token
    async def main():
        return await source.request_async("GET", "/orders")
    assert asyncio.run(main()).status == 200
threads = [threading.Thread(target=work) for work in (storm, storm, loops)]
for thread in threads: thread.start()
for _ in range(50): forked(child)
stop.set()
for thread in threads: thread.join()
""",
        timeout=90,
    ).cleanly()


POOL = '''
"""What a worker imports: the source is the module's, as programs do it."""
import os, sys
import multiprocessing
import qauth
from support import Sim

sim = Sim(os.environ["SIM_URL"])
source = sim.engine().source("quiqup")
wrong = qauth.Engine({"profiles": {"p": sim.profile("quiqup", client_secret="wrong-secret-71")}}).source("p")

def ask(number):
    return len(source.token().access_token), source.request("GET", "/orders").status

def fail(number):
    return wrong.token()

if __name__ == "__main__":
    source.token()
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        results = pool.map_async(ask, range(8)).get(30)
        assert len({length for length, _ in results}) == 1 and {status for _, status in results} == {200}
        try:
            pool.map_async(fail, [1]).get(30)
        except qauth.InvalidClientError as error:
            assert (error.status, error.profile, error.retryable) == (401, "p", False)
            assert "wrong-secret-71" not in str(error) + str(error.__cause__)
        else:
            raise AssertionError("no exception came")
        pool.close()
        pool.join()
    print(source.token().access_token == ask.__globals__["source"].token().access_token)
'''


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_uses_a_source_of_its_module(sim: Sim, tmp_path: Path, method: str) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    ended = run(
        sim,
        f"""
import subprocess
os.environ["SIM_URL"] = sim.url
command = [sys.executable, "-W", "ignore::DeprecationWarning", {str(tmp_path / "pool.py")!r}, {method!r}]
done = subprocess.run(command, timeout=60)
sys.exit(done.returncode)
""",
        timeout=60,
    )
    assert ended.cleanly() == "True\n"
    if method == "fork":
        assert sim.count("quiqup", "tokens_issued") == 1, "the workers serve the parent's token"
