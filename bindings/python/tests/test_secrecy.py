"""No secret and no token where people, logs and debuggers look."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
from typing import Any

import pytest
from support import SECRETS, Sim

import qauth


def shown(value: Any) -> str:
    """Everything that printing, formatting, logging and looking into an object give away."""
    texts = [
        repr(value),
        str(value),
        format(value),
        f"{value}",
        "%s %r" % (value, value),  # noqa: UP031
        repr([value]),
        repr({"in": value}),
    ]
    texts.append(logging.LogRecord("x", 10, "x", 1, "%s %r", (value, value), None).getMessage())
    texts += [repr(dir(value)), repr(vars(value)) if hasattr(value, "__dict__") else ""]
    texts += [type(value).__doc__ or "", repr(type(value))]
    try:
        texts.append(repr(pickle.dumps(value)))
    except TypeError as error:
        texts += traceback.format_exception(error)
    return "\n".join(texts)


def assert_silent(text: str, *tokens: str) -> None:
    for secret in (*SECRETS, *tokens):
        assert secret not in text


@pytest.mark.parametrize("vendor", ["quantaprice", "quiqup", "quable", "quartile", "qpay"])
def test_no_object_shows_a_secret_or_token(engine: qauth.Engine, vendor: str) -> None:
    source = engine.source(vendor)
    token = source.token()
    # requests that need no particular API
    headers = source.headers("GET", source.api_base_url or "/")
    response = source.request("GET", source.api_base_url or "/")
    objects = [
        engine,
        source,
        token,
        headers,
        headers.copy(),
        response,
        response.headers,
        source.requests_auth(),
        source.scoped(),
    ]
    objects.append(source.token_async())
    pending = source.headers_async("GET", "/")
    objects.append(pending)
    for value in objects:
        assert_silent(shown(value), token.access_token)
    pending.close()


@pytest.mark.parametrize("vendor", ["quantaprice", "quiqup", "quable", "quartile", "qpay"])
def test_no_error_of_a_wrong_secret_shows_it(sim: Sim, vendor: str) -> None:
    key = "password" if vendor in ("quable", "quartile") else "client_secret"
    wrong = "deadbeef" * 8
    with qauth.Engine({"profiles": {vendor: sim.profile(vendor, **{key: wrong})}}) as engine:
        source = engine.source(vendor)
        with pytest.raises(qauth.Error) as caught:
            source.token()
        assert caught.value.code in ("invalid_client", "invalid_grant")
        text = "".join(traceback.format_exception(caught.value)) + shown(caught.value) + shown(source)
        assert_silent(text, wrong)


def test_what_a_server_echoes_is_masked(sim: Sim) -> None:
    secret = sim.profile("quiqup")["client_secret"]
    sim.fault(
        "quiqup", "token", status=401, body={"error": "invalid_client", "error_description": f"bad secret {secret}"}
    )
    with sim.engine() as engine, pytest.raises(qauth.InvalidClientError) as caught:
        engine.source("quiqup").token()
    assert "bad secret" in str(caught.value)
    assert_silent(shown(caught.value) + pickle.dumps(caught.value).decode("latin-1"))


def test_no_traceback_with_locals_of_the_package_shows_a_token(source: qauth.TokenSource) -> None:
    token = source.token().access_token
    source.requests_auth()

    async def main() -> str:
        try:
            await source.call_async("nothing")
        except qauth.Error as error:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        raise AssertionError

    assert_silent(asyncio.run(main()), token)


def test_the_collector_finds_no_configuration(sim: Sim) -> None:
    """What the engine was made of is not kept as Python objects."""
    secret = "only-here-" + "x" * 20
    engine = qauth.Engine({"profiles": {"p": sim.profile("quiqup", client_secret=secret)}})
    source = engine.source("p")
    gc.collect()
    kept = [value for value in gc.get_objects() if isinstance(value, dict) and value.get("client_secret") == secret]
    assert kept == []
    assert source
    engine.close()


def test_nothing_is_printed(source: qauth.TokenSource, sim: Sim, capfd: pytest.CaptureFixture[str]) -> None:
    source.token()
    source.request("GET", "/orders")
    with pytest.raises(qauth.Error):
        source.call("nothing")
    # A warning, which logging would print where nobody has set it up.
    sim.fault("quiqup", "token", status=401, body={"error": "invalid_client"}, times=9)
    source.update(client_secret="wrong")
    with pytest.raises(qauth.InvalidClientError):
        source.token()
    assert capfd.readouterr() == ("", "")
