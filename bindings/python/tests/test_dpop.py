"""DPoP (RFC 9449): tokens bound to a key, a proof for every request, and nonces, against a small server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

import qauth

Reply = tuple[int, dict[str, str]]


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Proof:
    """A proof taken apart, with what RFC 9449 4.3 asks of every one checked but the signature itself."""

    def __init__(self, text: str, method: str, url: str) -> None:
        head, claims, signature = text.split(".")
        self.header = json.loads(decoded(head))
        self.claims = json.loads(decoded(claims))
        jwk = self.header["jwk"]
        assert (self.header["typ"], self.header["alg"], len(decoded(signature))) == ("dpop+jwt", "ES256", 64)
        assert sorted(jwk) == ["crv", "kty", "x", "y"], "the public key alone"
        # RFC 7638
        canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
        self.thumbprint = encoded(hashlib.sha256(canonical.encode()).digest())
        assert (self.claims["htm"], self.claims["htu"]) == (method, url)
        assert abs(self.claims["iat"] - time.time()) < 60
        assert len(self.claims["jti"]) >= 16
        self.nonce = self.claims.get("nonce")


class Seen:
    """A request to the API as it came."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes, proof: Proof | None) -> None:
        self.method, self.path, self.headers, self.body, self.proof = method, path, headers, body, proof

    @property
    def nonce(self) -> str | None:
        return self.proof.nonce if self.proof else None

    @property
    def token(self) -> str:
        return self.headers["authorization"].removeprefix("DPoP ")


class Server:
    """A token endpoint, and an API that takes no token without its proof."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.tokens: dict[str, str] = {}
        self.token_requests: list[Proof] = []
        self.faults: list[str] = []
        self.ids: set[str] = set()
        self.rejected: set[str] = set()
        # What each of them demands; None: nothing.
        self.nonce: str | None = None
        self.token_nonce: str | None = None
        # Runs where a request is good.
        self.answer: Callable[[Seen], Reply] = lambda seen: (200, {})
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    status, answered, text = server.handle(self.command, self.path, headers, body)
                except Exception as error:
                    server.faults.append(repr(error))
                    status, answered, text = 500, {}, b"{}"
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **answered}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        proof = None
        if "dpop" in headers:
            proof = Proof(headers["dpop"], method, self.url + path.partition("?")[0])
            assert proof.claims["jti"] not in self.ids, "a proof is used once"
            self.ids.add(proof.claims["jti"])
        if path == "/token":
            assert proof is not None
            return self.issue(proof, body)
        seen = Seen(method, path, headers, body, proof)
        self.seen.append(seen)
        return *self.call(seen), b"ok"

    def issue(self, proof: Proof, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert parse_qs(body.decode())["grant_type"] == ["client_credentials"]
        assert "ath" not in proof.claims
        self.token_requests.append(proof)
        told = {"Content-Type": "application/json"}
        if self.token_nonce and proof.nonce != self.token_nonce:
            return 400, {**told, "DPoP-Nonce": self.token_nonce}, b'{"error": "use_dpop_nonce"}'
        token = f"token-{len(self.tokens) + 1}"
        self.tokens[token] = proof.thumbprint
        answer = {"access_token": token, "token_type": "DPoP", "expires_in": 3600}
        return 200, told, json.dumps(answer).encode()

    def call(self, seen: Seen) -> Reply:
        if seen.proof is None or "authorization" not in seen.headers:
            return 401, {"WWW-Authenticate": 'DPoP algs="ES256"'}
        scheme, _, token = seen.headers["authorization"].partition(" ")
        assert scheme == "DPoP"
        assert self.tokens[token] == seen.proof.thumbprint, "the token is bound to another key"
        assert seen.proof.claims["ath"] == encoded(hashlib.sha256(token.encode()).digest())
        if self.nonce and seen.nonce != self.nonce:
            return 401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": self.nonce}
        if token in self.rejected:
            return 401, {"WWW-Authenticate": 'DPoP error="invalid_token"'}
        return self.answer(seen)

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()
    assert made.faults == []


@pytest.fixture
def other() -> Iterator[Server]:
    """Somebody else's host."""
    made = Server()
    yield made
    made.stop()
    assert made.faults == []


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., qauth.TokenSource]]:
    engines = []

    def make(**keys: Any) -> qauth.TokenSource:
        profile = {
            "provider": "oauth2",
            "token_endpoint": f"{server.url}/token",
            "api_base_url": server.url,
            "client_id": "c",
            "client_secret": "a-secret-7c3e",
            "dpop": True,
            **keys,
        }
        engines.append(qauth.Engine({"profiles": {"p": profile}}))
        return engines[-1].source("p")

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def source(make: Callable[..., qauth.TokenSource]) -> qauth.TokenSource:
    return make()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


Send = Callable[..., int]


@pytest.fixture(params=["requests", "request", "request_async"])
def send(request: pytest.FixtureRequest, source: qauth.TokenSource, server: Server, session: requests.Session) -> Send:
    """A call of the API by one of the ways, with the status that comes."""

    def by_requests(method: str, path: str, body: bytes | None = None) -> int:
        answer = session.request(method, server.url + path, data=body, auth=source.requests_auth())
        return answer.status_code

    def by_request(method: str, path: str, body: bytes | None = None) -> int:
        return source.request(method, path, body=body).status

    def by_request_async(method: str, path: str, body: bytes | None = None) -> int:
        return asyncio.run(source.request_async(method, path, body=body)).status

    return {"requests": by_requests, "request": by_request, "request_async": by_request_async}[request.param]


def test_a_request_carries_token_and_proof(server: Server, send: Send) -> None:
    assert send("GET", "/x") == 200
    assert [(seen.token, seen.nonce) for seen in server.seen] == [("token-1", None)]
    assert len(server.token_requests) == 1


def test_every_request_has_a_proof_of_its_own_by_the_same_key(server: Server, send: Send) -> None:
    assert [send(method, "/x") for method in ("GET", "POST", "GET")] == [200] * 3
    assert len({seen.headers["dpop"] for seen in server.seen}) == 3
    assert len(set(server.tokens.values())) == 1


def test_a_query_string_is_not_in_the_proof(server: Server, send: Send) -> None:
    # The server checks `htu`.
    assert send("GET", "/x/y?a=1&b=%20c") == 200
    assert server.seen[0].path == "/x/y?a=1&b=%20c"
    assert server.seen[0].proof is not None
    assert server.seen[0].proof.claims["htu"] == f"{server.url}/x/y"


def test_the_first_contact_may_need_a_nonce(server: Server, send: Send) -> None:
    server.nonce = "n-1"
    assert send("GET", "/x") == 200
    assert [seen.nonce for seen in server.seen] == [None, "n-1"]
    assert [seen.token for seen in server.seen] == ["token-1"] * 2
    assert len(server.token_requests) == 1, "nothing was wrong with the token"
    assert send("GET", "/x") == 200
    assert [seen.nonce for seen in server.seen] == [None, "n-1", "n-1"]


def test_a_nonce_is_learned_from_any_answer(server: Server, send: Send) -> None:
    server.answer = lambda seen: (200, {"DPoP-Nonce": "n-1"})
    assert send("GET", "/x") == 200
    server.nonce = "n-1"
    assert send("GET", "/x") == 200
    assert [seen.nonce for seen in server.seen] == [None, "n-1"]


def test_a_nonce_may_rotate(server: Server, send: Send) -> None:
    for nonce in ("n-1", "n-2", "n-3"):
        server.nonce = nonce
        assert send("GET", "/x") == 200
    assert [seen.nonce for seen in server.seen] == [None, "n-1", "n-1", "n-2", "n-2", "n-3"]
    assert len(server.token_requests) == 1


def test_a_body_is_sent_again_with_the_nonce(server: Server, send: Send) -> None:
    server.nonce = "n-1"
    assert send("POST", "/x", b"the body") == 200
    assert [(seen.method, seen.body, seen.nonce) for seen in server.seen] == [
        ("POST", b"the body", None),
        ("POST", b"the body", "n-1"),
    ]


def test_a_rejected_token_is_renewed_once_with_a_fresh_proof(server: Server, send: Send) -> None:
    assert send("GET", "/x") == 200
    server.rejected.add("token-1")
    assert send("POST", "/y", b"body") == 200
    assert [(seen.token, seen.body) for seen in server.seen[1:]] == [("token-1", b"body"), ("token-2", b"body")]
    assert len(server.token_requests) == 2


def test_a_nonce_and_a_rejected_token_are_answered_in_one_call(server: Server, send: Send) -> None:
    assert send("GET", "/x") == 200
    server.rejected.add("token-1")
    server.nonce = "n-1"
    assert send("GET", "/x") == 200
    assert [(seen.token, seen.nonce) for seen in server.seen[1:]] == [
        ("token-1", None),
        ("token-1", "n-1"),
        ("token-2", "n-1"),
    ]


def test_a_401_that_stays_is_returned_after_one_renewal(server: Server, send: Send) -> None:
    server.answer = lambda seen: (401, {"WWW-Authenticate": 'DPoP error="invalid_token"'})
    assert send("GET", "/x") == 401
    assert [seen.token for seen in server.seen] == ["token-1", "token-2"]


def test_the_token_endpoint_may_need_a_nonce_too(server: Server, send: Send) -> None:
    server.token_nonce = "t-1"
    assert send("GET", "/x") == 200
    assert [proof.nonce for proof in server.token_requests] == [None, "t-1"]
    assert server.seen[0].token == "token-1"


# The adapter


def always_new(server: Server) -> Callable[[Seen], Reply]:
    """Demands a nonce other than the one it was given, for ever."""
    return lambda seen: (
        401,
        {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": f"n-{len(server.seen)}"},
    )


def test_a_nonce_loop_ends_with_the_401_after_one_more_try(
    server: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    server.answer = always_new(server)
    answer = session.get(f"{server.url}/x", auth=source.requests_auth())
    assert answer.status_code == 401
    assert [seen.nonce for seen in server.seen] == [None, "n-1"]
    assert len(server.token_requests) == 1
    server.answer = lambda seen: (200, {})
    assert session.get(f"{server.url}/x", auth=source.requests_auth()).status_code == 200
    assert server.seen[-1].nonce == "n-2"


def test_a_nonce_that_was_just_used_is_not_used_again(
    server: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    demand = (401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "n-1"})
    server.answer = lambda seen: demand
    assert session.get(f"{server.url}/x", auth=source.requests_auth()).status_code == 401
    assert [seen.nonce for seen in server.seen] == [None, "n-1"]


def test_request_ends_a_nonce_loop_too(server: Server, source: qauth.TokenSource) -> None:
    server.answer = always_new(server)
    with pytest.raises(qauth.ProtocolError, match="nonce"):
        source.request("GET", "/x")
    assert len(server.seen) == 2
    assert len(server.token_requests) == 1


def test_challenges_of_several_schemes_are_understood(
    server: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    challenge = 'Bearer realm="r", DPoP error="use_dpop_nonce", algs="ES256"'
    server.answer = lambda seen: (
        (200, {}) if seen.nonce else (401, {"WWW-Authenticate": challenge, "DPoP-Nonce": "n-1"})
    )
    assert session.get(f"{server.url}/x", auth=source.requests_auth()).status_code == 200
    assert len(server.token_requests) == 1


def test_a_redirect_away_drops_token_and_proof(
    server: Server, other: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    server.answer = lambda seen: (302, {"Location": f"{other.url}/b"})
    answer = session.get(f"{server.url}/a", auth=source.requests_auth(), headers={"X-Mine": "1"})
    assert answer.status_code == 401
    (seen,) = other.seen
    assert "dpop" not in seen.headers
    assert "authorization" not in seen.headers
    assert seen.headers["x-mine"] == "1"
    assert len(server.token_requests) == 1


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_redirect_within_the_host_has_a_proof_of_its_own(
    server: Server, source: qauth.TokenSource, session: requests.Session, status: int, method: str
) -> None:
    server.answer = lambda seen: (status, {"Location": "/b?c=d"}) if seen.path == "/a" else (200, {})
    answer = session.post(f"{server.url}/a", data=b"body", auth=source.requests_auth())
    assert answer.status_code == 200
    # The server checks each proof, and that none comes twice.
    assert [(seen.method, seen.path, seen.token) for seen in server.seen] == [
        ("POST", "/a", "token-1"),
        (method, "/b?c=d", "token-1"),
    ]
    assert server.seen[1].body == (b"body" if method == "POST" else b"")


def test_a_nonce_is_answered_after_a_redirect(
    server: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    def answer(seen: Seen) -> Reply:
        server.nonce = "n-1"
        return (302, {"Location": "/b"}) if seen.path == "/a" else (200, {})

    server.answer = answer
    assert session.get(f"{server.url}/a", auth=source.requests_auth()).status_code == 200
    assert [(seen.path, seen.nonce) for seen in server.seen] == [("/a", None), ("/b", None), ("/b", "n-1")]


def test_another_host_of_the_profile_has_its_own_proof_and_nonce(
    server: Server, other: Server, make: Callable[..., qauth.TokenSource], session: requests.Session
) -> None:
    source = make(allowed_hosts=[other.url])
    server.answer = lambda seen: (307, {"Location": f"{other.url}/b"})
    other.tokens, other.nonce = server.tokens, "o-1"
    answer = session.post(f"{server.url}/a", data=b"body", auth=source.requests_auth())
    assert answer.status_code == 200
    assert (other.seen[-1].token, other.seen[-1].nonce, other.seen[-1].body) == ("token-1", "o-1", b"body")
    assert len(server.token_requests) == 1


def test_many_threads_with_rotating_nonces_share_one_token(
    server: Server, source: qauth.TokenSource, session: requests.Session
) -> None:
    # Both are good for a while, as servers do it.
    def answer(seen: Seen) -> Reply:
        count = len(server.seen)
        good = {f"n-{count // 10}", f"n-{max(count // 10 - 1, 0)}", f"n-{max(count // 10 - 2, 0)}"}
        told = {"DPoP-Nonce": f"n-{count // 10}"}
        if seen.nonce in good:
            return 200, told
        return 401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', **told}

    server.answer = answer
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=8))
    auth = source.requests_auth()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: session.get(f"{server.url}/x", auth=auth).status_code, range(64)))
    assert statuses == [200] * 64
    assert len(server.token_requests) == 1


# The primitives


def test_header_cannot_serve_dpop(source: qauth.TokenSource, server: Server) -> None:
    with pytest.raises(qauth.UnsupportedError):
        source.header()
    with pytest.raises(qauth.UnsupportedError):
        asyncio.run(source.header_async())
    assert source.token().access_token == "token-1"
    with pytest.raises(qauth.UnsupportedError):
        source.header()


def test_headers_have_a_new_proof_each_time(source: qauth.TokenSource, server: Server) -> None:
    first, second = source.headers("GET", "/x?a=1"), asyncio.run(source.headers_async("POST", f"{server.url}/x"))
    assert list(first) == ["Authorization", "DPoP"]
    assert first["Authorization"] == second["Authorization"] == "DPoP token-1"
    Proof(first["DPoP"], "GET", f"{server.url}/x")
    Proof(second["DPoP"], "POST", f"{server.url}/x")
    assert repr(first) == "<qauth.RequestHeaders ['Authorization', 'DPoP']>"


def test_a_callers_own_proof_is_refused(source: qauth.TokenSource) -> None:
    with pytest.raises(qauth.InvalidArgumentError, match="DPoP"):
        source.request("GET", "/x", headers={"DPoP": "mine"})
