"""A new client that is saved as a profile, and the secrecy of an answer that cannot be kept."""

from __future__ import annotations

import asyncio
import json
import pickle
import stat
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Sim

import qauth

CLIENT = {"tenant_id": "issuer-001", "name": "batch", "roles": ["issuer"]}
PERSON = {"grant": "password", "username": "maria", "password": "qpay-password-08fd"}
ANSWER = {"id": "7", "client_secret": "canary-secret"}
Create = Callable[..., Any]


@pytest.fixture
def engine_of_a_file(sim: Sim, tmp_path: Path) -> Iterator[qauth.Engine]:
    profiles = {"console": {"provider": "qpay", "base_url": f"{sim.url}/qpay", **PERSON}}
    (tmp_path / "qauth.json").write_text(json.dumps({"profiles": profiles}))
    with qauth.Engine.from_file(tmp_path / "qauth.json") as engine:
        yield engine


@pytest.fixture(params=["call", "call_async"])
def create(request: pytest.FixtureRequest, engine_of_a_file: qauth.Engine) -> Create:
    source = engine_of_a_file.source("console")

    async def awaited(operation: str, **options: Any) -> Any:
        return await source.call_async(operation, CLIENT, **options)

    if request.param == "call":
        return lambda **options: source.call("create_client", CLIENT, **options)
    return lambda **options: asyncio.run(awaited("create_client", **options))


def test_the_new_profile_works_at_once(engine_of_a_file: qauth.Engine, create: Create, tmp_path: Path) -> None:
    made = create(save_as="batch")
    file = tmp_path / "profiles.d/batch.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made["client_secret"] in file.read_text()
    assert engine_of_a_file.profiles() == ["console", "batch"]
    assert engine_of_a_file.source("batch").token().access_token
    with pytest.raises(qauth.InvalidArgumentError, match="batch is a profile already"):
        create(save_as="batch")


def test_what_is_no_name_is_refused(sim: Sim, create: Create) -> None:
    for wrong in ("", "../x", "a b"):
        with pytest.raises(qauth.InvalidArgumentError, match="save_as"):
            create(save_as=wrong)
    with pytest.raises(ValueError, match="save_as: holds characters"):
        create(save_as="\ud800")
    with pytest.raises(TypeError):
        create(save_as=5)
    assert sim.count("qpay", "requests") == 0


def test_without_a_file_there_is_no_place_for_it(sim: Sim) -> None:
    profiles = {"console": sim.profile("qpay", **PERSON)}
    for key in ("client_id", "client_secret"):
        del profiles["console"][key]
    with qauth.Engine({"profiles": profiles}) as engine, pytest.raises(qauth.ConfigError, match="make it from a file"):
        engine.source("console").call("create_client", CLIENT, save_as="batch")


def test_an_answer_that_cannot_be_kept_comes_with_the_error_alone(sim: Sim, create: Create) -> None:
    sim.fault("qpay", "api", status=201, body=ANSWER)
    with pytest.raises(qauth.ProtocolError) as caught:
        create(save_as="batch")
    error = caught.value
    assert error.answer == ANSWER
    shown = [repr(error), str(error), f"{error}", repr(vars(error)), repr(error.args)]
    shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    shown.append(pickle.dumps(error).decode("latin-1"))
    assert "canary" not in "\n".join(shown)
    sent = pickle.loads(pickle.dumps(error))
    assert (type(sent), str(sent), sent.profile, sent.answer) == (qauth.ProtocolError, str(error), "console", None)


def test_other_errors_have_no_answer(create: Create) -> None:
    with pytest.raises(qauth.InvalidArgumentError) as caught:
        create(save_as="console")
    assert caught.value.answer is None
