"""The exceptions: one class per code, what they know, and that they survive a pickle."""

from __future__ import annotations

import asyncio
import builtins
import copy
import pickle
from typing import Any

import pytest
from support import Sim

import qauth
from qauth import _errors, _qauth

CLASSES = {error.code: error for error in qauth.Error.__subclasses__()}


def test_there_is_one_class_per_code() -> None:
    assert sorted(CLASSES) == sorted(_qauth.CODES)
    assert len(qauth.Error.__subclasses__()) == len(_qauth.CODES)


@pytest.mark.parametrize("code", _qauth.CODES)
def test_a_class_is_public_and_named_after_its_code(code: str) -> None:
    words = "".join(word.capitalize() for word in code.split("_"))
    name = words if words.endswith("Error") else f"{words}Error"
    assert getattr(qauth, name) is CLASSES[code]
    assert CLASSES[code].__doc__
    assert CLASSES[code].__module__ == "qauth._errors"


@pytest.mark.parametrize("code", _qauth.CODES)
def test_of_code_gives_the_class_of_the_code(code: str) -> None:
    error = _errors.of_code(code, "text", message="m")
    assert type(error) is CLASSES[code]
    assert error.code == code
    assert isinstance(error, qauth.Error)
    assert isinstance(error, Exception)


def test_pythons_own_classes_catch_their_like() -> None:
    bases = {
        qauth.InvalidArgumentError: ValueError,
        qauth.NetworkError: ConnectionError,
        qauth.TimeoutError: builtins.TimeoutError,
    }
    for error, base in bases.items():
        assert issubclass(error, base)
        assert issubclass(error, qauth.Error)
    others = [error for error in CLASSES.values() if error not in bases]
    assert all(not issubclass(error, (ValueError, OSError)) for error in others)


FIELDS: dict[str, Any] = {
    "message": "what to do",
    "profile": "pricing",
    "provider": "quiqup",
    "status": 429,
    "server_error": "slow_down",
    "server_error_description": "please",
    "retryable": True,
    "retry_after": 1.5,
}


@pytest.mark.parametrize("code", _qauth.CODES)
def test_a_copy_or_pickle_knows_the_same(code: str) -> None:
    error = CLASSES[code]("the whole text", **FIELDS)
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for made in copies:
        assert type(made) is type(error)
        assert str(made) == "the whole text"
        assert made.args == error.args
        assert {name: getattr(made, name) for name in FIELDS} == FIELDS


def test_an_error_of_ones_own_has_safe_defaults() -> None:
    error = qauth.ServerError("text")
    assert (error.message, error.retryable, error.retry_after, error.status) == ("text", False, None, None)


def test_a_refused_login_tells_everything(sim: Sim) -> None:
    config = {"profiles": {"orders": sim.profile("quiqup", client_secret="wrong-secret-71")}}
    with qauth.Engine(config) as engine, pytest.raises(qauth.InvalidClientError) as caught:
        engine.source("orders").token()
    error = caught.value
    assert (error.code, error.profile, error.provider, error.status) == ("invalid_client", "orders", "quiqup", 401)
    assert error.server_error == "invalid_client"
    assert error.server_error_description is None or isinstance(error.server_error_description, str)
    assert (error.retryable, type(error.retry_after)) in [(False, float), (False, type(None))]
    assert error.message
    assert error.message in str(error)
    assert "orders" in str(error)
    assert "wrong-secret-71" not in str(error) + repr(error) + repr(vars(error))


def test_an_awaited_call_raises_the_same(sim: Sim) -> None:
    with qauth.Engine({"profiles": {"orders": sim.profile("quiqup", client_secret="wrong")}}) as engine:
        source = engine.source("orders")

        async def both() -> list[Any]:
            return await asyncio.gather(source.token_async(), source.token_async(), return_exceptions=True)

        first, second = asyncio.run(both())
        with pytest.raises(qauth.InvalidClientError) as caught:
            source.token()
        assert first is not second, "each waiter has a traceback of its own"
        assert str(first) == str(second) == str(caught.value)
        assert vars(first).keys() == vars(caught.value).keys()


@pytest.mark.parametrize(
    ("fault", "expected", "builtin"),
    [
        ({"status": 500, "times": 9}, qauth.ServerError, qauth.Error),
        ({"status": 429, "headers": {"Retry-After": "60"}, "times": 9}, qauth.RateLimitedError, qauth.Error),
        ({"close": "before", "times": 9}, qauth.NetworkError, ConnectionError),
        ({"delay_ms": 5000}, qauth.TimeoutError, builtins.TimeoutError),
        ({"status": 200, "body": "{}", "times": 9}, qauth.ProtocolError, qauth.Error),
        ({"status": 403, "body": {"error": "access_denied"}}, qauth.AccessDeniedError, qauth.Error),
        ({"status": 400, "body": {"error": "invalid_scope"}}, qauth.ConfigError, qauth.Error),
    ],
)
def test_a_failure_arrives_as_its_class(
    sim: Sim, fault: dict[str, Any], expected: type[qauth.Error], builtin: type[Exception]
) -> None:
    sim.fault("quiqup", "token", **fault)
    with sim.engine() as engine, pytest.raises(builtin) as caught:
        engine.source("quiqup").token(timeout=0.05 if expected is qauth.TimeoutError else 30)
    assert type(caught.value) is expected
    if expected is qauth.RateLimitedError:
        assert caught.value.retryable
        assert 0 < caught.value.retry_after <= 60


def test_an_unreachable_server_is_a_connection_error() -> None:
    profile = {"provider": "quiqup", "base_url": "http://127.0.0.1:1", "client_id": "a", "client_secret": "b"}
    with qauth.Engine({"profiles": {"dead": profile}}) as engine, pytest.raises(ConnectionError) as caught:
        engine.source("dead").token()
    assert isinstance(caught.value, qauth.NetworkError)
    assert caught.value.retryable
