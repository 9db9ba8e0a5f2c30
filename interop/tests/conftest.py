"""Starts the servers that the chosen tests need, all at once; a server that does not start fails its tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import ALL, Server, running
from support import Command, Profiles, Witness


@pytest.fixture(scope="session")
def started(request: pytest.FixtureRequest) -> Iterator[dict[str, Server]]:
    wanted = {getattr(item.module, "SERVER", None) for item in request.session.items if hasattr(item, "module")}
    servers = {kind.name: kind() for kind in ALL if kind.name in wanted}
    with running(list(servers.values())):
        yield servers


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, started: dict[str, Server]) -> Server:
    """The one that the module's `SERVER` names."""
    return started[request.module.SERVER]


@pytest.fixture(scope="module")
def witness(server: Server) -> Iterator[Witness]:
    with Witness(server).listening() as witness:
        yield witness


@pytest.fixture
def profiles(server: Server, witness: Witness) -> Iterator[Profiles]:
    made = Profiles(server, witness)
    yield made
    made.close()


@pytest.fixture
def command(profiles: Profiles, tmp_path: Path) -> Command:
    return Command(profiles, tmp_path)
