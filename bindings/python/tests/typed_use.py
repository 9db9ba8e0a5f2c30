"""The whole API as a typed program uses it. mypy checks this file; nothing runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase
from typing_extensions import assert_type

import qauth


def engines(config: dict[str, Any], mapping: Mapping[str, object]) -> None:
    assert_type(qauth.Engine(), qauth.Engine)
    qauth.Engine(config)
    qauth.Engine(mapping)
    qauth.Engine(None)
    qauth.Engine.discover()
    qauth.Engine.from_file("qauth.toml")
    qauth.Engine.from_file(Path("qauth.toml"))
    qauth.Engine.from_toml("")
    qauth.Engine.from_json("{}")
    with qauth.Engine.shared() as engine:
        assert_type(engine, qauth.Engine)
        assert_type(engine.source("pricing", environment="staging"), qauth.TokenSource)
        assert_type(engine.remove("pricing"), bool)
        assert_type(engine.profiles(), list[str])
        assert_type(engine.metrics(), dict[str, Any])
        assert_type(engine.records(), list[dict[str, Any]])
        assert_type(engine.clear("quiqup"), bool)
        assert_type(engine.prometheus(), str)
        engine.advance(1)
        engine.advance(0.5)
        engine.advance(timedelta(minutes=1))
        engine.suspend(timedelta(hours=13))
        engine.step_wall_clock(-86400)
        engine.close()


def sources(source: qauth.TokenSource) -> None:
    assert_type(qauth.source("quiqup", environment="staging"), qauth.TokenSource)
    assert_type(source.profile, str)
    assert_type(source.provider, str)
    assert_type(source.api_base_url, str | None)
    assert_type(source.header_name, str)
    token = source.token(timeout=1, min_remaining=timedelta(seconds=5))
    assert_type(token, qauth.Token)
    assert_type(source.header(), str)
    assert_type(source.headers("GET", "/", timeout=1.5, min_remaining=2), qauth.RequestHeaders)
    assert_type(source.request("GET", "/", query={"a": 1}, headers=[("a", "b")], body=b"", timeout=1), qauth.Response)
    source.request("GET", "/", query=[("a", 1.5)], headers={"a": "b"}, body="")
    result: object = source.call("whoami", {"a": 1}, timeout=2, save_as="batch")
    assert_type(source.invalidate(token), bool)
    source.reset()
    source.update(client_secret="s")
    assert_type(source.scoped(scope="a", audience=None, resource="b"), qauth.TokenSource)
    assert_type(source.requests_auth(), AuthBase)
    requests.get("https://example.com", auth=source.requests_auth(), headers=source.headers("GET", "/"))
    del result


def plain() -> str:
    return "token"


def told(call: qauth.TokenCall) -> tuple[str, int]:
    assert_type(call.profile, str)
    assert_type(call.scope, str | None)
    assert_type(call.audience, str | None)
    assert_type(call.resource, str | None)
    return "token", 60


def with_timedelta() -> tuple[str, timedelta]:
    return "token", timedelta(minutes=1)


def answer() -> dict[str, object]:
    return {"access_token": "token", "expires_in": 60}


async def awaited(call: qauth.TokenCall) -> Mapping[str, Any]:
    return {"access_token": "token"}


async def awaited_plain() -> str:
    return "token"


def custom_sources(engine: qauth.Engine) -> None:
    assert_type(qauth.custom_source("a", plain, api_base_url="https://api.example"), qauth.TokenSource)
    assert_type(engine.custom_source("a", told), qauth.TokenSource)
    engine.custom_source("a", with_timedelta)
    engine.custom_source("a", answer)
    engine.custom_source("a", awaited)
    engine.custom_source("a", awaited_plain)
    engine.custom_source("a", lambda: "token")
    engine.custom_source("a", lambda call: ("token", 60.5))


def values(token: qauth.Token, response: qauth.Response, headers: qauth.RequestHeaders) -> None:
    assert_type(token.access_token, str)
    assert_type(token.token_type, str)
    assert_type(token.expires_at, datetime | None)
    assert_type(token.expires_in, float | None)
    assert_type(token.scope, str | None)
    assert_type(token.extras, dict[str, Any])
    assert_type(token.generation, int)
    assert_type(token.header_value, str)
    assert_type(response.status, int)
    assert_type(response.ok, bool)
    assert_type(response.headers, qauth.ResponseHeaders)
    assert_type(response.headers["a"], str)
    assert_type(response.headers.get_list("a"), list[str])
    assert_type(response.body, bytes)
    assert_type(response.text(), str)
    response.json()
    response.raise_for_status()
    plain: dict[str, str] = headers
    assert_type(headers.copy(), qauth.RequestHeaders)
    assert_type(headers.generation, int)
    del plain


async def awaited_calls(source: qauth.TokenSource) -> None:
    assert_type(await source.token_async(timeout=1, min_remaining=1), qauth.Token)
    assert_type(await source.header_async(), str)
    assert_type(await source.headers_async("GET", "/", timeout=1), qauth.RequestHeaders)
    assert_type(await source.request_async("GET", "/", query={}, headers={}, body=None, timeout=None), qauth.Response)
    await source.call_async("whoami", {}, timeout=1, save_as=None)
    task: asyncio.Task[qauth.Token] = asyncio.create_task(source.token_async())
    assert_type(await task, qauth.Token)
    await asyncio.gather(source.token_async(), source.header_async())
    async with qauth.Engine() as engine:
        assert_type(engine, qauth.Engine)


def errors(source: qauth.TokenSource) -> None:
    try:
        source.token()
    except (qauth.RateLimitedError, qauth.NetworkError) as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.retryable, bool)
    except ConnectionError:
        pass
    except qauth.Error as error:
        assert_type(error.code, str)
        assert_type(error.message, str)
        assert_type(error.profile, str | None)
        assert_type(error.provider, str | None)
        assert_type(error.status, int | None)
        assert_type(error.server_error, str | None)
        assert_type(error.server_error_description, str | None)


def wrong(engine: qauth.Engine, source: qauth.TokenSource, token: qauth.Token) -> None:
    """What the types refuse: an ignore that is not needed is an error under --strict."""
    qauth.Engine("qauth.toml")  # type: ignore[arg-type]
    engine.source(name="a")  # type: ignore[call-arg]
    source.token(5)  # type: ignore[call-arg]
    source.token(timeout="5")  # type: ignore[arg-type]
    source.token().access_token = ""  # type: ignore[misc]
    source.request("GET", "/", body=1)  # type: ignore[arg-type]
    source.invalidate("token")  # type: ignore[arg-type]
    source.bogus()  # type: ignore[attr-defined]
    engine.custom_source("a", "token")  # type: ignore[arg-type]
    engine.custom_source("a", wrong)  # type: ignore[arg-type]
