from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SIMULATOR, Sim, start_sim

import qauth

# A shell starts what runs in the background with this one ignored, and children would have it from here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def running_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sim]:
    if not SIMULATOR.exists():
        pytest.exit(f"{SIMULATOR} is missing: cargo build -p qauth-sim, or say where it is in QAUTH_SIM", returncode=1)
    process, url = start_sim(tmp_path_factory.mktemp("sim"))
    yield Sim(url)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


@pytest.fixture
def sim(running_sim: Sim) -> Sim:
    """The simulator as freshly started."""
    running_sim.reset()
    return running_sim


@pytest.fixture
def engine(sim: Sim) -> Iterator[qauth.Engine]:
    """An engine with a profile per vendor, named like it, on a manual clock."""
    with sim.engine(testing={"clock": "manual"}) as engine:
        yield engine


@pytest.fixture
def source(engine: qauth.Engine) -> qauth.TokenSource:
    """Plain client credentials."""
    return engine.source("quiqup")


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("QAUTH_CONFIG", raising=False)
