"""The adapter for requests, and the headers in the hands of other clients."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx2
import pytest
import requests
from support import CREDENTIALS, PREFIXES, Sim

import qauth

KEY = CREDENTIALS["quartile"]["subscription_key"]


class Api:
    """A small API that records what comes and answers as `answer` says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str, dict[str, str]], tuple[int, dict[str, str]]] = lambda path, headers: (200, {})
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.read_body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.seen.append((self.command, self.path, headers, body))
                status, answered = api.answer(self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Length": "2", **answered}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"ok")

            do_POST = do_PUT = do_HEAD = do_GET

            def read_body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def authorizations(self) -> list[str | None]:
        return [headers.get("authorization") for _, _, headers, _ in self.seen]


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.stop()


@pytest.fixture
def other() -> Iterator[Api]:
    """Somebody else's host."""
    made = Api()
    yield made
    made.stop()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        # Neither proxies nor netrc of the person who runs the tests.
        session.trust_env = False
        yield session


@pytest.fixture
def at(sim: Sim) -> Iterator[Callable[..., qauth.TokenSource]]:
    """A source that gets its tokens from the simulator and whose API is this one."""
    engines = []

    def make(api: Api, vendor: str = "quartile", **keys: Any) -> qauth.TokenSource:
        engine = qauth.Engine({"profiles": {"p": sim.profile(vendor, api_base_url=api.url, **keys)}})
        engines.append(engine)
        return engine.source("p")

    yield make
    for engine in engines:
        engine.close()


At = Callable[..., qauth.TokenSource]


def once_401(token: str) -> Callable[[str, dict[str, str]], tuple[int, dict[str, str]]]:
    return lambda _path, headers: (401 if headers.get("authorization") == token else 200, {})


def test_all_headers_are_attached(engine: qauth.Engine, sim: Sim, session: requests.Session) -> None:
    for vendor, path in (("quiqup", "/orders"), ("quartile", "/reports"), ("quable", "/api/products")):
        answer = session.get(sim.url + PREFIXES[vendor] + path, auth=engine.source(vendor).requests_auth())
        assert answer.status_code == 200
    assert answer.request.headers["Authorization"].startswith("Bearer ")


def test_companion_headers_are_attached_too(api: Api, at: At, session: requests.Session) -> None:
    source = at(api)
    assert session.get(f"{api.url}/x", auth=source.requests_auth()).status_code == 200
    _, _, headers, _ = api.seen[0]
    assert (headers["authorization"], headers["subscription-key"]) == (source.token().header_value, KEY)


def test_a_401_leads_to_one_new_token_and_one_more_try(api: Api, at: At, sim: Sim, session: requests.Session) -> None:
    source = at(api)
    old = source.token()
    api.answer = once_401(old.header_value)
    answer = session.post(f"{api.url}/x", data=b"body", auth=source.requests_auth())
    assert answer.status_code == 200
    assert api.authorizations == [old.header_value, source.token().header_value]
    assert [body for _, _, _, body in api.seen] == [b"body", b"body"]
    assert [past.status_code for past in answer.history] == [401]
    assert source.token().generation > old.generation


def test_a_401_that_stays_is_returned_after_one_more_try(api: Api, at: At, session: requests.Session) -> None:
    source = at(api)
    api.answer = lambda *_: (401, {})
    assert session.get(f"{api.url}/x", auth=source.requests_auth()).status_code == 401
    assert len(api.seen) == 2


def test_a_401_of_the_simulators_api_is_answered_the_same(
    source: qauth.TokenSource, sim: Sim, session: requests.Session
) -> None:
    source.token()
    sim.post("revoke", vendor="quiqup", tokens=True)
    assert session.get(f"{sim.url}/quiqup/orders", auth=source.requests_auth()).status_code == 200
    assert (sim.count("quiqup"), sim.count("quiqup", "api_requests")) == (2, 2)


def test_a_403_renews_nothing(source: qauth.TokenSource, sim: Sim, session: requests.Session) -> None:
    assert session.get(f"{sim.url}/quiqup/forbidden", auth=source.requests_auth()).status_code == 403
    assert (sim.count("quiqup"), sim.count("quiqup", "api_requests")) == (1, 1)


@pytest.mark.parametrize("body", ["bytes", "text", "json", "form", "file", "moved file", "upload"])
def test_a_body_that_can_be_sent_again_is(api: Api, at: At, session: requests.Session, body: str) -> None:
    source = at(api)
    api.answer = once_401(source.token().header_value)
    file = io.BytesIO(b"-the file")
    if body == "moved file":
        file.seek(1)
    bodies: dict[str, dict[str, Any]] = {
        "bytes": {"data": b"x"},
        "text": {"data": "x"},
        "json": {"json": {"a": 1}},
        "form": {"data": {"a": "b"}},
        "file": {"data": file},
        "moved file": {"data": file},
        "upload": {"files": {"f": file}},
    }
    answer = session.post(f"{api.url}/x", auth=source.requests_auth(), **bodies[body])
    assert answer.status_code == 200
    first, second = (seen[3] for seen in api.seen)
    assert first == second != b""
    if "file" in body:
        assert first == (b"the file" if body == "moved file" else b"-the file")


def test_a_body_that_cannot_be_sent_again_is_not(api: Api, at: At, session: requests.Session) -> None:
    source = at(api)
    old = source.token()
    api.answer = once_401(old.header_value)
    answer = session.post(f"{api.url}/x", data=(part for part in (b"a", b"b")), auth=source.requests_auth())
    assert answer.status_code == 401
    assert [body for _, _, _, body in api.seen] == [b"ab"]
    # The token is rejected all the same: the next call has a new one.
    assert session.get(f"{api.url}/x", auth=source.requests_auth()).status_code == 200


def test_auth_of_a_session_serves_all_its_requests(api: Api, at: At, sim: Sim, session: requests.Session) -> None:
    source = at(api)
    session.auth = source.requests_auth()
    for _ in range(3):
        assert session.get(f"{api.url}/x").status_code == 200
        api.answer = once_401(source.token().header_value)
    assert len(api.seen) == 5
    assert sim.count("quartile", "tokens_issued") == 3


def test_many_threads_share_one_session(source: qauth.TokenSource, sim: Sim, session: requests.Session) -> None:
    source.token()
    sim.post("revoke", vendor="quiqup", tokens=True)
    session.auth = source.requests_auth()
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: session.get(f"{sim.url}/quiqup/orders").status_code, range(64)))
    assert statuses == [200] * 64
    assert sim.count("quiqup") == 2


def test_what_the_user_gives_is_kept_beside_the_headers(api: Api, at: At, session: requests.Session) -> None:
    session.get(f"{api.url}/x?a=1", params={"b": 2}, headers={"X-Mine": "1"}, auth=at(api).requests_auth())
    _, path, headers, _ = api.seen[0]
    assert (path, headers["x-mine"]) == ("/x?a=1&b=2", "1")


# Where the headers go


def test_a_foreign_host_is_refused_before_anything_is_sent(
    api: Api, other: Api, at: At, sim: Sim, session: requests.Session
) -> None:
    with pytest.raises(qauth.InvalidArgumentError, match=r"127\.0\.0\.1"):
        session.get(f"{other.url}/x", auth=at(api).requests_auth())
    assert other.seen == []
    assert sim.count("quartile") == 0


def test_a_redirect_within_the_host_keeps_the_headers(api: Api, at: At, session: requests.Session) -> None:
    source = at(api)
    api.answer = lambda path, _: (302, {"Location": "/b"}) if path == "/a" else (200, {})
    assert session.get(f"{api.url}/a", auth=source.requests_auth()).status_code == 200
    assert api.authorizations == [source.token().header_value] * 2
    assert [headers["subscription-key"] for _, _, headers, _ in api.seen] == [KEY, KEY]


def test_a_redirect_to_another_host_of_the_profile_gets_the_headers(
    api: Api, other: Api, at: At, sim: Sim, session: requests.Session
) -> None:
    source = at(api, allowed_hosts=[other.url])
    api.answer = lambda *_: (307, {"Location": f"{other.url}/b"})
    other.answer = lambda _, headers: (200 if "authorization" in headers else 401, {})
    answer = session.post(f"{api.url}/a", data=b"body", auth=source.requests_auth())
    assert answer.status_code == 200
    assert other.authorizations[-1] == source.token().header_value
    assert (other.seen[-1][2]["subscription-key"], other.seen[-1][3]) == (KEY, b"body")
    assert sim.count("quartile") == 1, "a token that was not sent was not rejected"


FOREIGN = {
    "another port": "{other}/x",
    "another name": "http://localhost:{port}/x",
    "without a scheme": "//127.0.0.1:{port}/x",
    "a user name": "http://{api}@127.0.0.1:{port}/x",
    # Some parsers end the host at a backslash; requests quotes it and goes on to the @.
    "a backslash": "{api_url}\\@127.0.0.1:{port}/x",
    "a quoted backslash": "{api_url}%5C@127.0.0.1:{port}/x",
    "a tab": "http://127.0.0.1:\t{port}/x",
}


@pytest.mark.parametrize("place", FOREIGN)
def test_a_redirect_away_drops_every_header(
    api: Api, other: Api, at: At, session: requests.Session, place: str
) -> None:
    source = at(api)
    names = {
        "other": other.url,
        "port": other.server.server_port,
        "api_url": api.url,
        "api": api.url.removeprefix("http://"),
    }
    api.answer = lambda *_: (302, {"Location": FOREIGN[place].format(**names)})
    with contextlib.suppress(requests.RequestException):
        session.get(f"{api.url}/a", auth=source.requests_auth(), headers={"X-Mine": "1"})
    for _, _, headers, _ in other.seen:
        # requests makes basic authentication of a user name in a URL; that is none of ours.
        assert not headers.get("authorization", "").startswith("Bearer")
        assert "subscription-key" not in headers
        assert headers["x-mine"] == "1"
    assert other.seen or place in ("a user name", "a backslash", "a quoted backslash", "a tab", "another name")


def test_a_redirect_right_after_the_retry_drops_the_new_headers_too(
    api: Api, other: Api, at: At, session: requests.Session
) -> None:
    source = at(api)
    old = source.token().header_value
    api.answer = lambda _, headers: (
        (401, {}) if headers["authorization"] == old else (302, {"Location": f"{other.url}/b"})
    )
    assert session.get(f"{api.url}/a", auth=source.requests_auth()).status_code == 200
    assert len(api.seen) == 2
    assert len(other.seen) == 1
    assert "authorization" not in other.seen[0][2]
    assert "subscription-key" not in other.seen[0][2]


def test_a_401_after_a_redirect_is_answered_once(api: Api, at: At, sim: Sim, session: requests.Session) -> None:
    source = at(api)
    old = source.token().header_value
    api.answer = lambda path, headers: (
        (302, {"Location": "/b"}) if path == "/a" else (401 if headers["authorization"] == old else 200, {})
    )
    assert session.get(f"{api.url}/a", auth=source.requests_auth()).status_code == 200
    assert [path for _, path, _, _ in api.seen] == ["/a", "/b", "/b"]


def test_a_401_of_a_foreign_host_renews_nothing(
    api: Api, other: Api, at: At, sim: Sim, session: requests.Session
) -> None:
    source = at(api)
    api.answer = lambda *_: (302, {"Location": f"{other.url}/b"})
    other.answer = lambda *_: (401, {})
    assert session.get(f"{api.url}/a", auth=source.requests_auth()).status_code == 401
    assert len(other.seen) == 1
    assert sim.count("quartile") == 1


def test_redirects_that_are_not_followed_keep_their_status(api: Api, at: At, session: requests.Session) -> None:
    api.answer = lambda *_: (302, {"Location": "/b"})
    answer = session.get(f"{api.url}/a", auth=at(api).requests_auth(), allow_redirects=False)
    assert answer.status_code == 302
    assert len(api.seen) == 1


# Errors


def test_a_profile_without_an_api_address_is_a_matter_of_configuration(sim: Sim, session: requests.Session) -> None:
    profile = {
        "provider": "oauth2",
        "token_endpoint": f"{sim.url}/qpay/auth/realms/qpay/protocol/openid-connect/token",
        "client_auth": "client_secret_post",
        **CREDENTIALS["qpay"],
    }
    bare = {"profiles": {"bare": profile}}
    with qauth.Engine(bare) as engine, pytest.raises(qauth.ConfigError, match="api_base_url"):
        session.get(f"{sim.url}/qpay/cards", auth=engine.source("bare").requests_auth())
    assert sim.count("qpay", "api_requests") == 0


def test_a_rejected_static_token_is_returned_as_401_and_then_needs_a_person(
    api: Api, at: At, session: requests.Session
) -> None:
    with qauth.Engine(
        {
            "profiles": {
                "p": {
                    "provider": "quable",
                    "instance": "acme",
                    "base_url": api.url,
                    "grant": "static",
                    "generic_token": "generic-5c1d7a90f2e84b6f",
                }
            }
        }
    ) as engine:
        source = engine.source("p")
        api.answer = lambda *_: (401, {})
        assert session.get(f"{api.url}/x", auth=source.requests_auth()).status_code == 401
        assert len(api.seen) == 1
        with pytest.raises(qauth.ReauthenticationRequiredError):
            session.get(f"{api.url}/x", auth=source.requests_auth())
    assert len(api.seen) == 1


def test_a_token_that_cannot_be_had_is_its_own_error(sim: Sim, session: requests.Session) -> None:
    wrong = {"profiles": {"p": sim.profile("quiqup", client_secret="wrong")}}
    with qauth.Engine(wrong) as engine, pytest.raises(qauth.InvalidClientError):
        session.get(f"{sim.url}/quiqup/orders", auth=engine.source("p").requests_auth())


def test_two_auths_of_one_source_are_equal(engine: qauth.Engine) -> None:
    source = engine.source("quiqup")
    assert source.requests_auth() == source.requests_auth()
    assert hash(source.requests_auth()) == hash(source.requests_auth())
    assert source.requests_auth() != engine.source("qpay").requests_auth()
    assert source.requests_auth() != object()


# Other clients take the headers as they are


def test_plain_requests_takes_the_headers(engine: qauth.Engine, sim: Sim) -> None:
    url = f"{sim.url}/quartile/reports"
    assert requests.get(url, headers=engine.source("quartile").headers("GET", url)).status_code == 200


def test_httpx_takes_the_headers(engine: qauth.Engine, sim: Sim) -> None:
    url, source = f"{sim.url}/quartile/reports", engine.source("quartile")
    with httpx2.Client(trust_env=False) as client:
        assert client.get(url, headers=source.headers("GET", url)).status_code == 200

    async def main() -> int:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return (await client.get(url, headers=await source.headers_async("GET", url))).status_code

    assert asyncio.run(main()) == 200


def test_aiohttp_takes_the_headers(engine: qauth.Engine, sim: Sim) -> None:
    url, source = f"{sim.url}/quartile/reports", engine.source("quartile")

    async def main() -> int:
        headers = await source.headers_async("GET", url)
        async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
            return answer.status

    assert asyncio.run(main()) == 200
