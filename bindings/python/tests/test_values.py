"""Each method and property once, blocking and awaited: what goes in and what comes out."""

from __future__ import annotations

import asyncio
import json
import re
import weakref
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support import CREDENTIALS, PREFIXES, Sim

import qauth

Ask = Callable[..., Any]


async def awaited(call: Awaitable[Any]) -> Any:
    return await call


@pytest.fixture(params=["blocking", "awaited"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """ask(source, "token", …): the method, or its asyncio form."""

    def blocking(source: qauth.TokenSource, method: str, *args: Any, **keywords: Any) -> Any:
        return getattr(source, method)(*args, **keywords)

    def in_a_loop(source: qauth.TokenSource, method: str, *args: Any, **keywords: Any) -> Any:
        return asyncio.run(awaited(getattr(source, f"{method}_async")(*args, **keywords)))

    return blocking if request.param == "blocking" else in_a_loop


# The module


def test_everything_public_is_listed_and_there() -> None:
    assert sorted(qauth.__all__) == qauth.__all__
    public = {name for name in vars(qauth) if not name.startswith("_")} - {"annotations", "Any", "TYPE_CHECKING"}
    assert public <= {*qauth.__all__}
    assert all(hasattr(qauth, name) for name in qauth.__all__)


def test_the_version_is_that_of_the_wheel() -> None:
    assert qauth.__version__ == version("qauth")


def test_the_modules_own_source_uses_the_shared_engine_and_the_environment(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUIQUP_CLIENT_ID", CREDENTIALS["quiqup"]["client_id"])
    monkeypatch.setenv("QUIQUP_CLIENT_SECRET", CREDENTIALS["quiqup"]["client_secret"])
    base_url = sim.url + PREFIXES["quiqup"]
    source = qauth.source("quiqup", base_url=base_url)
    same = qauth.Engine.shared().source("quiqup", base_url=base_url)
    assert source.token().access_token == same.token().access_token
    assert sim.count("quiqup") == 1


# Engine


def test_an_engine_is_made_of_a_mapping_toml_or_json(sim: Sim, tmp_path: Path) -> None:
    toml = '[profiles.one]\nprovider = "quiqup"\n'
    as_json = json.dumps({"profiles": {"one": {"provider": "quiqup"}}})
    (tmp_path / "qauth.toml").write_text(toml)
    (tmp_path / "qauth.json").write_text(as_json)
    engines = [
        qauth.Engine({"profiles": {"one": {"provider": "quiqup"}}}),
        qauth.Engine.from_toml(toml),
        qauth.Engine.from_json(as_json),
        qauth.Engine.from_file(tmp_path / "qauth.toml"),
        qauth.Engine.from_file(str(tmp_path / "qauth.json")),
    ]
    assert [engine.profiles() for engine in engines] == [["one"]] * 5
    assert qauth.Engine().profiles() == []
    assert qauth.Engine(None).profiles() == []


def test_discover_reads_what_qauth_config_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('[profiles.found]\nprovider = "quiqup"\n')
    monkeypatch.setenv("QAUTH_CONFIG", str(tmp_path / "mine.toml"))
    assert qauth.Engine.discover().profiles() == ["found"]


def test_discover_without_a_configuration_gives_an_engine_without_profiles() -> None:
    assert qauth.Engine.discover().profiles() == []


def test_a_mapping_of_any_kind_is_a_configuration(sim: Sim) -> None:
    from collections import ChainMap, OrderedDict
    from enum import Enum
    from types import MappingProxyType

    class Environment(str, Enum):
        STAGING = "staging"

    profile = ChainMap({"environment": Environment.STAGING}, OrderedDict(provider="quiqup"))
    config = MappingProxyType({"profiles": {"one": profile}, "transport": {"timeout": 2.5}})
    assert qauth.Engine(config).profiles() == ["one"]


def test_a_path_may_stand_in_a_configuration(sim: Sim, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CREDENTIALS["quiqup"]["client_secret"] + "\n")
    with qauth.Engine({"profiles": {"one": sim.profile("quiqup", client_secret=f"file:{secret}")}}) as engine:
        assert engine.source("one").token().access_token
    with pytest.raises(qauth.ConfigError, match="ca_file"):
        qauth.Engine({"transport": {"ca_file": tmp_path / "none.pem"}, **sim.config()}).source("quiqup").token()


def test_profiles_are_named_in_the_order_of_the_configuration(engine: qauth.Engine) -> None:
    assert engine.profiles() == list(CREDENTIALS)


def test_the_same_name_gives_the_same_tokens_and_keywords_others(engine: qauth.Engine, sim: Sim) -> None:
    first, again = engine.source("qpay"), engine.source("qpay")
    other = engine.source("qpay", client_id="nobody")
    assert first.token() is first.token()
    assert again.token().access_token == first.token().access_token
    with pytest.raises(qauth.InvalidClientError):
        other.token()


def test_remove_closes_the_sources_handles_and_tells_whether_there_was_one(engine: qauth.Engine) -> None:
    source = engine.source("quiqup")
    source.token()
    assert engine.remove("quiqup") is True
    assert engine.remove("quiqup") is False
    with pytest.raises(qauth.ClosedError):
        source.token()
    assert engine.source("quiqup").token().access_token


def test_a_record_is_told_and_cleared(engine: qauth.Engine) -> None:
    assert engine.records() == []
    token = engine.source("quiqup").token()
    (record,) = engine.records()
    assert token.expires_at is not None
    assert record == {
        "name": None,
        "profile": "quiqup",
        "provider": "quiqup",
        "state": "valid",
        "generation": 1,
        "obtained_at": int(token.expires_at.timestamp()) - 3600,
        "expires_at": int(token.expires_at.timestamp()),
        "has_refresh_token": False,
        "refresh_expires_at": None,
        "failure": None,
        "failure_until": None,
        "written_at": None,
        "written_by": None,
        "error": None,
    }
    assert engine.clear("quiqup") is True
    assert engine.clear("quiqup") is False
    assert [record["state"] for record in engine.records()] == ["empty"]
    assert engine.source("quiqup").token().access_token != token.access_token
    with pytest.raises(qauth.ConfigError):
        engine.clear("nowhere")


def test_advance_moves_a_manual_clock(engine: qauth.Engine, sim: Sim) -> None:
    sim.post("settings", vendor="quiqup", lifetime=100)
    source = engine.source("quiqup")
    token = source.token()
    assert token.expires_in == pytest.approx(100, abs=0.01)
    engine.advance(timedelta(seconds=40))
    engine.advance(2)
    engine.advance(0.5)
    assert token.expires_in == pytest.approx(57.5, abs=0.01)
    engine.advance(1000)
    assert token.expires_in == 0.0
    assert source.token().generation > token.generation


def test_a_closed_engine_says_so_everywhere(sim: Sim, ask: Ask) -> None:
    engine = sim.engine()
    source = engine.source("quiqup")
    token = source.token()
    engine.close()
    engine.close()
    for method, *arguments in (
        ["token"],
        ["header"],
        ["headers", "GET", "/orders"],
        ["request", "GET", "/orders"],
        ["call", "validate"],
    ):
        with pytest.raises((qauth.ClosedError, qauth.InvalidArgumentError)) as caught:
            ask(source, method, *arguments)
        assert caught.value.code == "closed" or method == "call"
    with pytest.raises(qauth.ClosedError):
        engine.source("quiqup")
    assert source.invalidate(token) is False
    source.reset()


def test_with_closes_the_engine(sim: Sim) -> None:
    with sim.engine() as engine:
        assert isinstance(engine, qauth.Engine)
        source = engine.source("quiqup")
    with pytest.raises(qauth.ClosedError):
        source.token()


def test_with_lets_exceptions_pass(sim: Sim) -> None:
    with pytest.raises(KeyError, match="mine"), sim.engine():
        raise KeyError("mine")


def test_async_with_closes_the_engine(sim: Sim) -> None:
    async def main() -> qauth.TokenSource:
        async with sim.engine() as engine:
            source = engine.source("quiqup")
            assert (await source.token_async()).access_token
        return source

    source = asyncio.run(main())
    with pytest.raises(qauth.ClosedError):
        source.token()


# TokenSource


def test_a_source_tells_what_it_is(engine: qauth.Engine, sim: Sim) -> None:
    source = engine.source("quantaprice")
    assert source.profile == "quantaprice"
    assert source.provider == "quantaprice"
    assert source.api_base_url == sim.url + "/quantaprice"
    assert source.header_name == "Authorization"
    assert repr(source) == '<qauth.TokenSource "quantaprice" of quantaprice>'
    assert weakref.ref(source)() is source


def test_a_profile_without_an_api_address_has_none(sim: Sim) -> None:
    engine = qauth.Engine(no_api(sim))
    assert engine.source("bare").api_base_url is None


def no_api(sim: Sim) -> dict[str, Any]:
    profile = {
        "provider": "oauth2",
        "token_endpoint": f"{sim.url}/qpay/auth/realms/qpay/protocol/openid-connect/token",
        "client_auth": "client_secret_post",
        **CREDENTIALS["qpay"],
    }
    return {"profiles": {"bare": profile}}


def test_a_token_is_obtained_once_and_then_given_again(source: qauth.TokenSource, ask: Ask, sim: Sim) -> None:
    first = ask(source, "token")
    assert isinstance(first, qauth.Token)
    assert ask(source, "token") is first
    assert sim.count("quiqup") == 1


def test_a_token_knows_what_the_server_said(engine: qauth.Engine, ask: Ask) -> None:
    before = datetime.now(timezone.utc)
    token = ask(engine.source("qpay"), "token")
    assert re.fullmatch(r"[\w.-]+", token.access_token)
    assert token.token_type == "Bearer"
    assert token.header_value == f"Bearer {token.access_token}"
    assert isinstance(token.expires_in, float)
    assert 0 < token.expires_in <= 3600
    assert token.expires_at.tzinfo is not None
    assert timedelta(0) < token.expires_at - before < timedelta(hours=2)
    assert token.scope is None or isinstance(token.scope, str)
    assert isinstance(token.generation, int)
    assert token.generation >= 1
    assert token.extras == token.extras
    assert token.extras is not token.extras
    assert weakref.ref(token)() is token


def test_the_scope_that_the_server_grants_is_told(engine: qauth.Engine, ask: Ask) -> None:
    source = engine.source("qpay").scoped(scope="cards")
    assert "cards" in ask(source, "token").scope.split()


def test_fields_that_the_provider_file_keeps_are_extras(engine: qauth.Engine, ask: Ask) -> None:
    assert ask(engine.source("quiqup"), "token").extras.keys() >= {"created_at"}


def test_a_token_without_an_end_has_no_expiry(sim: Sim, ask: Ask) -> None:
    profile = {
        "provider": "quable",
        "base_url": f"{sim.url}/quable/acme",
        "instance": "acme",
        "grant": "static",
        "generic_token": "generic-5c1d7a90f2e84b6f",
    }
    with qauth.Engine({"profiles": {"pim": profile}}) as engine:
        token = ask(engine.source("pim"), "token")
    assert token.access_token == "generic-5c1d7a90f2e84b6f"
    assert (token.expires_at, token.expires_in) == (None, None)
    assert repr(token) == "<qauth.Token Bearer without an end>"


def test_min_remaining_asks_for_more_life(engine: qauth.Engine, sim: Sim, ask: Ask) -> None:
    sim.post("settings", vendor="quiqup", lifetime=1000)
    source = engine.source("quiqup", mode="on_demand")
    first = ask(source, "token")
    engine.advance(500)
    assert ask(source, "token", min_remaining=400) is first
    assert ask(source, "token", min_remaining=timedelta(seconds=600)) is not first
    assert sim.count("quiqup") == 2


def test_timeout_0_gives_cached_tokens_only(source: qauth.TokenSource, sim: Sim, ask: Ask) -> None:
    with pytest.raises(qauth.TimeoutError):
        ask(source, "token", timeout=0)
    assert sim.count("quiqup") == 0
    token = source.token()
    assert ask(source, "token", timeout=0) is token
    assert ask(source, "token", timeout=timedelta(0)) is token


def test_a_call_ends_at_its_timeout(sim: Sim, ask: Ask) -> None:
    sim.post("settings", vendor="quiqup", delay_ms=5000)
    with sim.engine() as engine:
        for method, *arguments in (["token"], ["headers", "GET", "/orders"], ["request", "GET", "/orders"]):
            with pytest.raises(qauth.TimeoutError):
                ask(engine.source("quiqup"), method, *arguments, timeout=0.02)


def test_header_is_the_value_of_the_one_header(source: qauth.TokenSource, ask: Ask) -> None:
    value = ask(source, "header")
    assert value == source.token().header_value
    assert ask(source, "header") == value
    assert source.header() is source.header()


def test_header_is_refused_where_a_request_needs_more(engine: qauth.Engine, ask: Ask, sim: Sim) -> None:
    with pytest.raises(qauth.UnsupportedError, match="headers"):
        ask(engine.source("quartile"), "header")
    assert sim.count("quartile") == 0


def test_headers_are_all_that_a_request_must_carry(engine: qauth.Engine, ask: Ask, sim: Sim) -> None:
    source = engine.source("quartile")
    headers = ask(source, "headers", "GET", "/reports")
    token = source.token()
    assert isinstance(headers, qauth.RequestHeaders)
    assert isinstance(headers, dict)
    assert {name.lower(): value for name, value in headers.items()} == {
        "authorization": token.header_value,
        "subscription-key": CREDENTIALS["quartile"]["subscription_key"],
    }
    assert headers.generation == token.generation
    assert ask(source, "headers", "POST", sim.url + "/quartile/reports", timeout=5, min_remaining=1) == headers


def test_headers_go_to_the_profiles_hosts_only(source: qauth.TokenSource, ask: Ask, sim: Sim) -> None:
    with pytest.raises(qauth.InvalidArgumentError, match=r"example\.com"):
        ask(source, "headers", "GET", "https://example.com/orders")
    assert sim.count("quiqup") == 0


def test_a_request_carries_query_headers_and_body(source: qauth.TokenSource, ask: Ask) -> None:
    response = ask(
        source,
        "request",
        "POST",
        "/echo",
        query=[("a", "1"), ("a", "ü&"), ("n", 2), ("f", 0.5)],
        headers={"X-One": "1", "X-Two": "zwei"},
        body=b"\x7bdata",
        timeout=5,
    )
    seen = response.json()
    assert response.status == 200
    assert response.ok is True
    assert seen["method"] == "POST"
    assert seen["query"] == "a=1&a=%C3%BC%26&n=2&f=0.5"
    assert seen["headers"]["authorization"] == "present"
    assert (seen["headers"]["x-one"], seen["headers"]["x-two"]) == ("1", "zwei")
    assert seen["body"] == "{data"


def test_query_and_headers_may_be_mappings_or_pairs_and_a_body_text(source: qauth.TokenSource, ask: Ask) -> None:
    pairs = ask(source, "request", "PUT", "/echo", query={"a": 1}, headers=[("X-A", "b")], body="ü").json()
    assert (pairs["query"], pairs["headers"]["x-a"], pairs["body_bytes"]) == ("a=1", "b", 2)


def test_a_response_holds_status_headers_and_body(source: qauth.TokenSource, ask: Ask) -> None:
    response = ask(source, "request", "GET", "/echo")
    assert isinstance(response, qauth.Response)
    assert isinstance(response.headers, qauth.ResponseHeaders)
    assert response.headers is response.headers
    assert "json" in response.headers["Content-Type"]
    assert "json" in response.headers["content-type"]
    assert isinstance(response.body, bytes)
    assert response.body is response.body
    assert json.loads(response.text()) == response.json() == json.loads(response.body)
    assert response.raise_for_status() is None
    assert repr(response) == f"<qauth.Response 200, {len(response.body)} bytes>"


def test_every_status_is_a_response(source: qauth.TokenSource, ask: Ask) -> None:
    response = ask(source, "request", "GET", "/forbidden")
    assert (response.status, response.ok) == (403, False)
    with pytest.raises(qauth.AccessDeniedError) as caught:
        response.raise_for_status()
    assert caught.value.status == 403


def test_a_body_that_is_no_json_or_text_is_told_so(source: qauth.TokenSource, ask: Ask, sim: Sim) -> None:
    sim.fault("quiqup", "api", status=200, body="no json", content_type="text/plain")
    response = ask(source, "request", "GET", "/orders")
    assert response.text() == "no json"
    with pytest.raises(ValueError, match="Expecting value"):
        response.json()


def test_a_401_leads_to_one_new_token_and_one_more_try(source: qauth.TokenSource, ask: Ask, sim: Sim) -> None:
    ask(source, "token")
    sim.post("revoke", vendor="quiqup", tokens=True)
    assert ask(source, "request", "GET", "/orders").status == 200
    assert (sim.count("quiqup"), sim.count("quiqup", "api_unauthorized")) == (2, 1)


def test_call_gives_the_parsed_result(engine: qauth.Engine, ask: Ask) -> None:
    result = ask(engine.source("quantaprice"), "call", "prices", {"sku": "A/1 ü"}, timeout=5)
    assert result["sku"] == "A/1 ü"
    assert ask(engine.source("quartile"), "call", "validate") is not None


def test_call_raises_for_refusals(engine: qauth.Engine, ask: Ask) -> None:
    with pytest.raises(qauth.InvalidArgumentError, match="nothing"):
        ask(engine.source("quantaprice"), "call", "nothing")
    with pytest.raises(qauth.InvalidArgumentError, match="sku"):
        ask(engine.source("quantaprice"), "call", "prices")


def test_invalidate_acts_once_and_on_the_current_token_only(source: qauth.TokenSource, ask: Ask, sim: Sim) -> None:
    token = ask(source, "token")
    assert source.invalidate(token) is True
    assert source.invalidate(token) is False
    new = ask(source, "token")
    assert new is not token
    assert new.generation > token.generation
    assert source.invalidate(token) is False
    assert sim.count("quiqup") == 2


def test_reset_forgets_a_refusal(engine: qauth.Engine, ask: Ask, sim: Sim) -> None:
    source = engine.source("quiqup")
    sim.post("credentials", vendor="quiqup", client_secret="rotated")
    for _ in range(2):
        with pytest.raises(qauth.InvalidClientError):
            ask(source, "token")
    assert sim.count("quiqup") == 1
    source.reset()
    with pytest.raises(qauth.InvalidClientError):
        ask(source, "token")
    assert sim.count("quiqup") == 2


def test_update_replaces_keys(engine: qauth.Engine, ask: Ask, sim: Sim) -> None:
    source = engine.source("quiqup")
    old = ask(source, "token")
    sim.post("credentials", vendor="quiqup", client_secret="rotated")
    source.update(client_secret="rotated")
    assert ask(source, "token").access_token != old.access_token


def test_scoped_sources_have_tokens_of_their_own(engine: qauth.Engine, ask: Ask, sim: Sim) -> None:
    source = engine.source("qpay")
    narrow = source.scoped(scope="cards")
    assert ask(narrow, "token").access_token != ask(source, "token").access_token
    assert ask(source.scoped(scope="cards"), "token").access_token == ask(narrow, "token").access_token
    assert sim.count("qpay") == 2


# The headers' own behaviour


def test_response_headers_are_a_mapping_without_regard_to_case() -> None:
    headers = qauth.ResponseHeaders([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Date", "now")])
    assert headers["SET-COOKIE"] == "a=1, b=2"
    assert headers.get_list("Set-Cookie") == ["a=1", "b=2"]
    assert headers.get_list("None") == []
    assert list(headers) == ["set-cookie", "date"]
    assert len(headers) == 2
    assert "Date" in headers
    assert "none" not in headers
    assert None not in headers
    assert 1 not in headers
    assert headers.get("none") is None
    with pytest.raises(KeyError):
        headers["none"]


def test_request_headers_may_be_completed_and_copied(source: qauth.TokenSource) -> None:
    import copy

    headers = source.headers("GET", "/orders")
    headers["X-Mine"] = "1"
    for made in (headers.copy(), copy.copy(headers), copy.deepcopy(headers)):
        assert made == headers
        assert made is not headers
        assert made.generation == headers.generation
        assert isinstance(made, qauth.RequestHeaders)


@pytest.mark.parametrize("kind", ["source", "token"])
def test_a_copy_of_what_does_not_change_is_the_same_object(source: qauth.TokenSource, kind: str) -> None:
    import copy

    value = {"source": source, "token": source.token()}[kind]
    assert copy.copy(value) is value
    assert copy.deepcopy({"in": value})["in"] is value
