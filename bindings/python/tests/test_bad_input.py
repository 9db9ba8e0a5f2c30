"""Wrong arguments: an error of a known type that names the argument and does not show its value."""

from __future__ import annotations

import asyncio
import copy
import datetime
import math
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Sim

import qauth

TYPED = (TypeError, ValueError, qauth.ConfigError)
SHOWN = "canary-5d1e"
SURROGATE = f"{SHOWN}\udc80"


class Canary:
    """No type that anything takes; whoever formats it gives itself away."""

    def __repr__(self) -> str:
        return SHOWN

    __str__ = __repr__


class BadLength(dict[str, Any]):
    """A mapping whose items fail in their own way."""

    def items(self) -> Any:
        raise LookupError("mine")


def itself() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["again"] = {"and": [made]}
    return made


NO_TEXT = [None, 1, 1.5, True, b"canary-5d1e", ["canary-5d1e"], Canary(), SURROGATE]
NO_OPTIONAL_TEXT = NO_TEXT[1:]
NO_SECONDS = [
    True,
    "canary-5d1e",
    b"1",
    [1],
    {},
    Canary(),
    datetime.datetime.now(),
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -0.001,
    10**400,
    -(10**400),
    datetime.timedelta(-1),
    1e300,
    1 + 2j,
]
NO_PAIRS = [
    1,
    True,
    "a=canary-5d1e",
    b"a=b",
    ["canary-5d1e"],
    [("canary-5d1e",)],
    [("a", "b", "c")],
    [("a", Canary())],
    {"a": None},
    {"a": True},
    {"a": ["canary-5d1e"]},
    {1: "canary-5d1e"},
    {"a": b"canary-5d1e"},
    {"a": SURROGATE},
    {SURROGATE: "a"},
    Canary(),
    {"a": {"b": "canary-5d1e"}},
]
NO_BODY = [1, True, 1.5, ["canary-5d1e"], {"a": "canary-5d1e"}, Canary(), SURROGATE]
NO_MAPPING = [1, True, 1.5, "canary-5d1e", b"x", ["canary-5d1e"], ("canary-5d1e",), {"canary-5d1e"}, Canary()]
NO_JSON = [
    {"canary-5d1e"},
    datetime.datetime.now(),
    Canary(),
    b"canary-5d1e",
    bytearray(b"canary-5d1e"),
    itself(),
    math.nan,
    math.inf,
    10**30,
    SURROGATE,
    object,
    lambda: SHOWN,
    1j,
    {1: SHOWN},
    {None: SHOWN},
    {SURROGATE: 1},
    range(3),
    iter([1]),
]

Call = Callable[[qauth.Engine, qauth.TokenSource, Any], Any]


def both(method: str, *before: Any, keyword: str | None = None, at: int | None = None) -> list[Call]:
    """The blocking and the awaited form, with the value as this argument."""

    def given(value: Any) -> tuple[list[Any], dict[str, Any]]:
        arguments = list(before)
        if keyword is not None:
            return arguments, {keyword: value}
        arguments[at or 0] = value
        return arguments, {}

    def blocking(_engine: qauth.Engine, source: qauth.TokenSource, value: Any) -> Any:
        arguments, keywords = given(value)
        return getattr(source, method)(*arguments, **keywords)

    def in_a_loop(_engine: qauth.Engine, source: qauth.TokenSource, value: Any) -> Any:
        arguments, keywords = given(value)

        async def main() -> Any:
            return await getattr(source, f"{method}_async")(*arguments, **keywords)

        return asyncio.run(main())

    return [blocking, in_a_loop]


ARGUMENTS: list[tuple[str, str, list[Any], list[Call]]] = [
    # name of the case, name in the message, wrong values, calls
    ("token timeout", "timeout", NO_SECONDS, both("token", keyword="timeout")),
    ("token min_remaining", "min_remaining", NO_SECONDS, both("token", keyword="min_remaining")),
    ("headers method", "method", NO_TEXT, both("headers", None, "/orders", at=0)),
    ("headers url", "url", NO_TEXT, both("headers", "GET", None, at=1)),
    ("headers timeout", "timeout", NO_SECONDS, both("headers", "GET", "/orders", keyword="timeout")),
    ("headers min_remaining", "min_remaining", NO_SECONDS, both("headers", "GET", "/orders", keyword="min_remaining")),
    ("request method", "method", NO_TEXT, both("request", None, "/orders", at=0)),
    ("request target", "target", NO_TEXT, both("request", "GET", None, at=1)),
    ("request query", "query", NO_PAIRS, both("request", "GET", "/orders", keyword="query")),
    ("request headers", "headers", NO_PAIRS, both("request", "GET", "/orders", keyword="headers")),
    ("request body", "body", NO_BODY, both("request", "POST", "/orders", keyword="body")),
    ("request timeout", "timeout", NO_SECONDS, both("request", "GET", "/orders", keyword="timeout")),
    ("call operation", "operation", NO_TEXT, both("call", None, at=0)),
    ("call parameters", "parameters", NO_MAPPING, both("call", "validate", keyword="parameters")),
    ("call timeout", "timeout", NO_SECONDS, both("call", "validate", keyword="timeout")),
    ("call parameter", "parameters.sku", NO_JSON[:-4], both("call", "validate", keyword="parameters")),
    ("invalidate", "token", [None, 1, "canary-5d1e", Canary()], [lambda e, s, v: s.invalidate(v)]),
    ("scoped scope", "scope", NO_OPTIONAL_TEXT, [lambda e, s, v: s.scoped(scope=v)]),
    ("scoped audience", "audience", NO_OPTIONAL_TEXT, [lambda e, s, v: s.scoped(audience=v)]),
    ("scoped resource", "resource", NO_OPTIONAL_TEXT, [lambda e, s, v: s.scoped(resource=v)]),
    (
        "update",
        "client_secret",
        [*NO_JSON, 1, True, [SHOWN], {"a": SHOWN}],
        [lambda e, s, v: s.update(client_secret=v)],
    ),
    ("source name", "name", NO_TEXT, [lambda e, s, v: e.source(v)]),
    ("source override", "client_secret", NO_JSON, [lambda e, s, v: e.source("quiqup", client_secret=v)]),
    ("module source name", "name", NO_TEXT, [lambda e, s, v: qauth.source(v)]),
    ("remove", "name", NO_TEXT, [lambda e, s, v: e.remove(v)]),
    ("clear", "name", NO_TEXT, [lambda e, s, v: e.clear(v)]),
    ("advance", "seconds", [None, *NO_SECONDS], [lambda e, s, v: e.advance(v)]),
    ("suspend", "seconds", [None, *NO_SECONDS], [lambda e, s, v: e.suspend(v)]),
    ("config", "config", NO_MAPPING, [lambda e, s, v: qauth.Engine(v)]),
    ("config value", "config.profiles", NO_JSON, [lambda e, s, v: qauth.Engine({"profiles": v})]),
    (
        "config leaf",
        "config.profiles.p.client_secret",
        NO_JSON,
        [lambda e, s, v: qauth.Engine({"profiles": {"p": {"provider": "quiqup", "client_secret": v}}})],
    ),
    (
        "config item",
        "config.profiles.p.allowed_hosts.1",
        NO_JSON,
        [lambda e, s, v: qauth.Engine({"profiles": {"p": {"allowed_hosts": ["a", v]}}})],
    ),
    ("from_file", "path", [None, 1, True, 1.5, ["canary-5d1e"], Canary()], [lambda e, s, v: qauth.Engine.from_file(v)]),
    ("from_toml", "text", NO_TEXT, [lambda e, s, v: qauth.Engine.from_toml(v)]),
    ("from_json", "text", NO_TEXT, [lambda e, s, v: qauth.Engine.from_json(v)]),
]


def cases() -> Iterator[Any]:
    for case, name, values, calls in ARGUMENTS:
        for index, value in enumerate(values):
            for form, call in zip(("blocking", "awaited"), calls, strict=False):
                wrapped = {"sku": value} if case == "call parameter" else value
                yield pytest.param(name, wrapped, call, id=f"{case}-{form}-{index}-{type(value).__name__}")


@pytest.mark.parametrize(("name", "value", "call"), list(cases()))
def test_a_wrong_argument_is_named_and_not_shown(
    engine: qauth.Engine, source: qauth.TokenSource, name: str, value: Any, call: Call
) -> None:
    with pytest.raises(TYPED) as caught:
        call(engine, source, value)
    error = caught.value
    text = "".join(traceback.format_exception_only(type(error), error))
    assert re.search(rf"(?<!\w){re.escape(name)}\b", text), text
    assert SHOWN not in text + repr(error.args) + repr(vars(error)), text
    assert not isinstance(error, UnicodeError), "it would carry the text"


def test_nothing_was_sent_for_a_wrong_argument(source: qauth.TokenSource, sim: Sim) -> None:
    for bad in ({"timeout": -1}, {"query": 1}, {"body": 1}, {"headers": {"a": "b\r\nc"}}):
        with pytest.raises(TYPED):
            source.request("GET", "/orders", **bad)  # type: ignore[arg-type]
    assert sim.count("quiqup", "requests") == 0


@pytest.mark.parametrize("key", ["buffer", "ahead", "max_lifetime", "default_lifetime", "timeout"])
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -1, -0.001, 10**400, 1e300, True, SHOWN, "nan", [1], {}]
)
def test_a_wrong_window_or_limit_is_named(
    engine: qauth.Engine, source: qauth.TokenSource, key: str, value: Any
) -> None:
    for call in (lambda: engine.source("quiqup", **{key: value}), lambda: source.update(**{key: value})):
        with pytest.raises(TYPED) as caught:
            call()
        assert key in str(caught.value)
        assert SHOWN not in str(caught.value)
    assert source.token()


KEYWORDS: list[Call] = [
    lambda e, s, v: s.token(bogus=v),
    lambda e, s, v: s.token_async(bogus=v),
    lambda e, s, v: s.header(bogus=v),
    lambda e, s, v: s.headers("GET", "/", bogus=v),
    lambda e, s, v: s.request("GET", "/", bogus=v),
    lambda e, s, v: s.call("validate", bogus=v),
    lambda e, s, v: s.scoped(bogus=v),
    lambda e, s, v: s.update(bogus=v),
    lambda e, s, v: s.invalidate(bogus=v),
    lambda e, s, v: s.reset(bogus=v),
    lambda e, s, v: e.source("quiqup", bogus=v),
    lambda e, s, v: e.close(bogus=v),
    lambda e, s, v: qauth.source("quiqup", bogus=v),
    lambda e, s, v: qauth.Engine(bogus=v),
    lambda e, s, v: qauth.Engine({"bogus": v}),
    lambda e, s, v: qauth.Engine({"profiles": {"p": {"provider": "quiqup", "bogus": v}}}).source("p"),
]


@pytest.mark.parametrize("call", KEYWORDS)
def test_an_unknown_keyword_is_named(engine: qauth.Engine, source: qauth.TokenSource, call: Call) -> None:
    with pytest.raises(TYPED) as caught:
        call(engine, source, SHOWN)
    # PyO3 does not say which keyword a method without any got.
    assert "bogus" in str(caught.value) or "takes no" in str(caught.value) or "positional argument" in str(caught.value)
    assert SHOWN not in str(caught.value)


def test_positional_options_are_refused(source: qauth.TokenSource) -> None:
    with pytest.raises(TypeError):
        source.token(5)  # type: ignore[misc]
    with pytest.raises(TypeError):
        source.scoped("cards")  # type: ignore[misc]


@pytest.mark.parametrize(
    "missing", [lambda s: s.headers("GET"), lambda s: s.request(), lambda s: s.call(), lambda s: s.invalidate()]
)
def test_a_missing_argument_is_named(source: qauth.TokenSource, missing: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"url|method|target|operation|token|missing"):
        missing(source)


@pytest.mark.parametrize("make", [lambda: qauth.TokenSource(), lambda: qauth.Token(), lambda: qauth.Response()])
def test_only_an_engine_makes_sources_tokens_and_responses(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"TokenSource|Token|Response"):
        make()


@pytest.mark.parametrize("kind", [qauth.Engine, qauth.TokenSource, qauth.Token, qauth.Response])
def test_the_classes_are_final(kind: type) -> None:
    with pytest.raises(TypeError, match="base type"):
        type("Mine", (kind,), {})


@pytest.mark.parametrize("kind", [qauth.Engine, qauth.TokenSource, qauth.Token, qauth.Response])
def test_the_classes_and_their_objects_cannot_be_changed(engine: qauth.Engine, kind: type) -> None:
    source = engine.source("quiqup")
    values: list[Any] = [engine, source, source.token(), source.request("GET", "/orders")]
    value = next(value for value in values if type(value) is kind)
    with pytest.raises(AttributeError):
        value.anything = 1
    for name in ("access_token", "profile", "status", "close"):
        if hasattr(value, name):
            with pytest.raises(AttributeError):
                setattr(value, name, 1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["engine", "source", "token", "response", "headers", "auth"])
def test_what_holds_tokens_is_not_pickled(engine: qauth.Engine, protocol: int, kind: str) -> None:
    source = engine.source("quiqup")
    value = {
        "engine": engine,
        "source": source,
        "token": source.token(),
        "response": source.request("GET", "/orders"),
        "headers": source.headers("GET", "/orders"),
        "auth": source.requests_auth(),
    }[kind]
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(value, protocol)


def test_an_engine_is_not_copied(engine: qauth.Engine) -> None:
    with pytest.raises(TypeError, match="Engine"):
        copy.copy(engine)


def test_a_mapping_that_fails_fails_in_its_own_way(source: qauth.TokenSource) -> None:
    with pytest.raises(LookupError, match="mine"):
        qauth.Engine(BadLength())
    with pytest.raises(LookupError, match="mine"):
        source.request("GET", "/orders", query=BadLength())


def test_pairs_that_fail_fail_in_their_own_way(source: qauth.TokenSource) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        yield ("a", "b")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        source.request("GET", "/orders", query=pairs())


@pytest.mark.parametrize(
    "path", ["/nonexistent/canary.toml", b"/nonexistent/canary.toml", Path("/nonexistent/canary.toml")]
)
def test_a_file_that_is_not_there_is_named(path: Any) -> None:
    with pytest.raises((qauth.ConfigError, TypeError)) as caught:
        qauth.Engine.from_file(path)
    assert "canary.toml" in str(caught.value) or "path" in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "/nonexistent/\udcff.toml", "", "/", "/proc/self/mem"])
def test_a_path_that_is_none_is_an_error(path: str) -> None:
    with pytest.raises((qauth.ConfigError, ValueError, TypeError)):
        qauth.Engine.from_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "canary-5d1e",
        "profiles = 'canary-5d1e'",
        "[profiles.p]\nclient_secret = 'canary-5d1e",
        '{"profiles": "canary-5d1e"}',
    ],
)
def test_a_text_that_is_no_configuration_is_not_shown(text: str) -> None:
    for make in (qauth.Engine.from_toml, qauth.Engine.from_json):
        with pytest.raises(qauth.ConfigError) as caught:
            make(text)
        assert SHOWN not in str(caught.value)


def test_exit_takes_whatever_with_gives(sim: Sim) -> None:
    engine = sim.engine()
    engine.__exit__(None, None, None)
    engine.__exit__(None, None, None)


def test_a_call_that_has_begun_cannot_begin_again(source: qauth.TokenSource) -> None:
    coroutine = source.token_async()
    asyncio.run(coroutine)
    with pytest.raises(RuntimeError):
        asyncio.run(coroutine)
