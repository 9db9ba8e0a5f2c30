"""One raw protocol call for each thing that a server is there for: `python3 smoke.py`, no qauth involved."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from servers import Authlib, Doorkeeper, Keycloak, OidcProvider, Server, running
from servers.browser import visit
from servers.keys import Pair, base64url, openssl

CLIENT_CREDENTIALS = {"grant_type": "client_credentials"}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any

    def __getitem__(self, name: str) -> Any:
        return self.body.get(name)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def call(
    server: Server,
    url: str,
    form: Mapping[str, str] | None = None,
    *,
    basic: tuple[str, str] | None = None,
    certificate: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    if form is not None:
        request.data = urllib.parse.urlencode(form).encode()
    if basic is not None:
        pair = ":".join(urllib.parse.quote(part, safe="") for part in basic)
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    https = urllib.request.HTTPSHandler(context=server.ssl_context(certificate))
    try:
        response = urllib.request.build_opener(https, NoRedirect).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read()
        body = json.loads(text) if "json" in (response.headers["Content-Type"] or "") else {}
        return Answer(response.status, response.headers, body)


def sign(pair: Pair, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    text = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": pair.alg, **header}, claims))
    signature = openssl("dgst", "-sha256", "-sign", pair.key_file, stdin=text.encode())
    if pair.alg == "ES256":
        signature = raw_signature(signature)
    return f"{text}.{base64url(signature)}"


def raw_signature(der: bytes) -> bytes:
    """JWS wants r and s of 32 bytes each, openssl gives them as DER integers."""
    r = der[4 : 4 + der[3]]
    s = der[6 + der[3] :]
    return b"".join(part[-32:].rjust(32, b"\0") for part in (r, s))


def assertion(key: Pair | str, client_id: str, audience: str) -> dict[str, str]:
    """For private_key_jwt with a key pair, for client_secret_jwt with the secret."""
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 60,
    }
    if isinstance(key, Pair):
        signed = sign(key, {"kid": key.name, "typ": "JWT"}, claims)
    else:
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
        signed = f"{text}.{base64url(hmac.digest(key.encode(), text.encode(), 'sha256'))}"
    return {"client_id": client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}


def proof(server: Server, method: str, url: str, nonce: str | None = None, token: str | None = None) -> dict[str, str]:
    pair = server.keys.ec
    jwk = {name: pair.jwk()[name] for name in ("kty", "crv", "x", "y")}
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if nonce is not None:
        claims["nonce"] = nonce
    if token is not None:
        claims["ath"] = base64url(openssl("dgst", "-sha256", "-binary", stdin=token.encode()))
    return {"DPoP": sign(pair, {"typ": "dpop+jwt", "jwk": jwk}, claims)}


class Checks:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, name: str, answer: Answer, holds: Callable[[Answer], object]) -> Answer:
        good = bool(holds(answer))
        self.passed += good
        self.failed += not good
        print(
            f"{'ok    ' if good else 'FAILED'} {name}{'' if good else f': {answer.status} {answer.body}'}", flush=True
        )
        return answer


def issued(answer: Answer) -> bool:
    return answer.status == 200 and bool(answer["access_token"])


def refused(error: str) -> Callable[[Answer], bool]:
    return lambda answer: answer.status in (400, 401) and answer["error"] == error


def bound(answer: Answer) -> bool:
    return issued(answer) and answer["token_type"] == "DPoP"


def keycloak(checks: Checks, server: Keycloak) -> None:
    about = server.describe()
    check = checks.check
    discovery = check("keycloak discovery", call(server, about["discovery"]), lambda a: a["issuer"] == server.issuer)
    token = discovery["token_endpoint"]
    secrets = {name: client.get("client_secret", "") for name, client in about["clients"].items()}
    orders = ("qpay-orders", secrets["qpay-orders"])

    check("keycloak client_secret_basic", call(server, token, CLIENT_CREDENTIALS, basic=orders), issued)
    post = {**CLIENT_CREDENTIALS, "client_id": orders[0], "client_secret": orders[1]}
    check("keycloak client_secret_post, 300 s", call(server, token, post), lambda a: a["expires_in"] == 300)
    signed = assertion(secrets["qpay-secret-jwt"], "qpay-secret-jwt", server.issuer)
    check("keycloak client_secret_jwt", call(server, token, {**CLIENT_CREDENTIALS, **signed}), issued)
    for name, pair in (("qpay-jwt-rsa", server.keys.rsa), ("qpay-jwt-ec", server.keys.ec)):
        signed = assertion(pair, name, server.issuer)
        check(f"keycloak private_key_jwt {pair.alg}", call(server, token, {**CLIENT_CREDENTIALS, **signed}), issued)
    x509 = {**CLIENT_CREDENTIALS, "client_id": "qpay-x509"}
    https = about["https_token_endpoint"]
    check("keycloak tls_client_auth", call(server, https, x509, certificate="tls_client"), issued)

    sign_in = {"username": "ana", "password": about["users"]["ana"]}
    password = {"grant_type": "password", **sign_in}
    console = {"client_id": "qpay-console"}
    first = check("keycloak password grant", call(server, token, {**password, **console}), issued)
    old = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], **console}
    check("keycloak refresh", call(server, token, old), lambda a: issued(a) and a["refresh_token"])
    check("keycloak old refresh token", call(server, token, old), refused("invalid_grant"))

    subject = call(server, token, {**password, **console})
    exchange = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": ACCESS_TOKEN, "audience": "qpay-ledger"}
    exchange["subject_token"] = subject["access_token"]
    check("keycloak token exchange", call(server, token, exchange, basic=orders), issued)
    inspected = {"token": subject["access_token"]}
    introspection, revocation = discovery["introspection_endpoint"], discovery["revocation_endpoint"]
    check("keycloak introspection", call(server, introspection, inspected, basic=orders), lambda a: a["active"] is True)
    revoked = call(server, revocation, {"token": subject["refresh_token"], **console})
    check("keycloak revocation", revoked, lambda a: a.status == 200)
    renewal = {"grant_type": "refresh_token", "refresh_token": subject["refresh_token"], **console}
    check("keycloak revoked refresh token", call(server, token, renewal), refused("invalid_grant"))

    dpop = ("qpay-dpop", secrets["qpay-dpop"])
    check("keycloak DPoP missing", call(server, token, CLIENT_CREDENTIALS, basic=dpop), refused("invalid_request"))
    proven = proof(server, "POST", token)
    check("keycloak DPoP", call(server, token, CLIENT_CREDENTIALS, basic=dpop, headers=proven), bound)
    proven = proof(server, "POST", token)
    check("keycloak DPoP, public", call(server, token, {**password, **console}, headers=proven), bound)
    started = call(server, discovery["device_authorization_endpoint"], {"client_id": "qpay-device"})
    check("keycloak device authorization", started, lambda a: a["device_code"] and a["user_code"])
    visit(started["verification_uri_complete"], server.ssl_context(), sign_in)
    poll = {"grant_type": DEVICE_CODE, "device_code": started["device_code"], "client_id": "qpay-device"}
    check("keycloak device code", call(server, token, poll), issued)
    code_flow(checks, server, discovery, "qpay-app", sign_in)


def oidc_provider(checks: Checks, server: OidcProvider) -> None:
    about = server.describe()
    check = checks.check
    discovery = check(
        "oidc-provider discovery", call(server, about["discovery"]), lambda a: a["issuer"] == server.issuer
    )
    token, api = discovery["token_endpoint"], about["api"]
    secrets = {name: client.get("client_secret", "") for name, client in about["clients"].items()}
    basic = ("basic", secrets["basic"])

    opaque = check("oidc-provider client_secret_basic", call(server, token, CLIENT_CREDENTIALS, basic=basic), issued)
    post = {**CLIENT_CREDENTIALS, "client_id": "post", "client_secret": secrets["post"]}
    check("oidc-provider client_secret_post", call(server, token, post), issued)
    signed = assertion(secrets["secret-jwt"], "secret-jwt", server.issuer)
    check("oidc-provider client_secret_jwt", call(server, token, {**CLIENT_CREDENTIALS, **signed}), issued)
    for name, pair in (("jwt-rsa", server.keys.rsa), ("jwt-ec", server.keys.ec)):
        signed = assertion(pair, name, server.issuer)
        check(
            f"oidc-provider private_key_jwt {pair.alg}", call(server, token, {**CLIENT_CREDENTIALS, **signed}), issued
        )
    for name, certificate in (("tls", "tls_client"), ("tls-self-signed", "self_signed")):
        form = {**CLIENT_CREDENTIALS, "client_id": name, "resource": about["resources"][0], "scope": "api:read"}
        answer = check(f"oidc-provider {name}", call(server, token, form, certificate=certificate), issued)
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        with_it = call(server, api, headers=bearer, certificate=certificate)
        check(f"oidc-provider {name}: bound token", with_it, lambda a: a["bound"] == "certificate")
        check(f"oidc-provider {name}: token alone", call(server, api, headers=bearer), refused("invalid_token"))

    for resource in about["resources"]:
        form = {**CLIENT_CREDENTIALS, "scope": "api:read", "resource": resource}
        answer = call(server, token, form, basic=basic)
        check(
            f"oidc-provider resource {resource[:3]}", answer, lambda a: issued(a) and a["access_token"].count(".") == 2
        )
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        expected = 200 if resource in api else 401
        check(f"oidc-provider API says {expected}", call(server, api, headers=headers), lambda a: a.status == expected)  # noqa: B023
    unknown = call(server, token, {**CLIENT_CREDENTIALS, "resource": "urn:unknown"}, basic=basic)
    check("oidc-provider unknown resource", unknown, refused("invalid_target"))

    given = {"token": opaque["access_token"]}
    introspection = discovery["introspection_endpoint"]
    check("oidc-provider introspection", call(server, introspection, given, basic=basic), lambda a: a["active"] is True)
    revoked = call(server, discovery["revocation_endpoint"], given, basic=basic)
    check("oidc-provider revocation", revoked, lambda a: a.status == 200)
    check("oidc-provider revoked", call(server, introspection, given, basic=basic), lambda a: a["active"] is False)

    dpop = ("dpop", secrets["dpop"])
    asked = call(server, token, CLIENT_CREDENTIALS, basic=dpop, headers=proof(server, "POST", token))
    check("oidc-provider DPoP nonce wanted", asked, lambda a: refused("use_dpop_nonce")(a) and a.headers["DPoP-Nonce"])
    nonce = asked.headers["DPoP-Nonce"]
    proven = proof(server, "POST", token, nonce)
    answer = call(server, token, CLIENT_CREDENTIALS, basic=dpop, headers=proven)
    check("oidc-provider DPoP", answer, bound)
    value = answer["access_token"]
    authorization = {"Authorization": f"DPoP {value}"}
    asked = call(server, api, headers={**authorization, **proof(server, "GET", api, token=value)})
    challenge = 'DPoP error="use_dpop_nonce"'
    check("oidc-provider API wants a nonce", asked, lambda a: challenge in (a.headers["WWW-Authenticate"] or ""))
    proven = proof(server, "GET", api, asked.headers["DPoP-Nonce"], value)
    check(
        "oidc-provider API with proof",
        call(server, api, headers={**authorization, **proven}),
        lambda a: a["bound"] == "dpop",
    )
    check("oidc-provider API without proof", call(server, api, headers=authorization), lambda a: a.status == 401)

    device(checks, server, discovery)
    code_flow(checks, server, discovery, "app", {})


def device(checks: Checks, server: OidcProvider, discovery: Answer) -> None:
    check = checks.check
    form = {"client_id": "device", "scope": "openid offline_access api:read"}
    started = check(
        "oidc-provider device authorization",
        call(server, discovery["device_authorization_endpoint"], form),
        lambda a: a["user_code"],
    )
    poll = {"grant_type": DEVICE_CODE, "device_code": started["device_code"], "client_id": "device"}
    token = discovery["token_endpoint"]
    check("oidc-provider device pending", call(server, token, poll), refused("authorization_pending"))
    call(server, server.describe()["approve_device"] + started["user_code"])
    answer = check("oidc-provider device code", call(server, token, poll), lambda a: issued(a) and a["refresh_token"])
    renewal = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"], "client_id": "device"}
    again = call(server, token, renewal)
    check("oidc-provider refresh", again, lambda a: a["refresh_token"] != renewal["refresh_token"])
    check("oidc-provider old refresh token", call(server, token, renewal), refused("invalid_grant"))


def code_flow(
    checks: Checks,
    server: Server,
    endpoints: Answer | Mapping[str, str],
    client_id: str,
    answers: Mapping[str, str],
    scope: str = "openid offline_access",
) -> None:
    """Authorization code with PKCE, up to the redirect to the loopback address."""
    verifier = base64url(uuid.uuid4().bytes * 3)
    redirect_uri = "http://127.0.0.1:1/callback"
    query = {
        "client_id": client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "scope": scope,
        "prompt": "consent",
        "state": "s",
        "code_challenge_method": "S256",
        "code_challenge": base64url(openssl("dgst", "-sha256", "-binary", stdin=verifier.encode())),
    }
    url = f"{endpoints['authorization_endpoint']}?{urllib.parse.urlencode(query)}"
    reached = visit(url, server.ssl_context(), answers, stop_at=redirect_uri)
    given = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(reached).query))
    form = {"grant_type": "authorization_code", "code": given.get("code", ""), "redirect_uri": redirect_uri}
    form |= {"client_id": client_id, "code_verifier": verifier}
    answer = call(server, endpoints["token_endpoint"], form)
    name = f"{server.name} authorization code"
    checks.check(name, answer, lambda a: issued(a) and a["refresh_token"])


def authlib(checks: Checks, server: Authlib) -> None:
    about = server.describe()
    check = checks.check
    metadata = check("authlib metadata", call(server, about["discovery"]), lambda a: a["issuer"] == server.issuer)
    token = metadata["token_endpoint"]
    secrets = {name: client.get("client_secret", "") for name, client in about["clients"].items()}
    basic = ("basic", secrets["basic"])

    check("authlib client_secret_basic", call(server, token, CLIENT_CREDENTIALS, basic=basic), issued)
    post = {**CLIENT_CREDENTIALS, "client_id": "post", "client_secret": secrets["post"]}
    check("authlib client_secret_post", call(server, token, post), issued)
    for name, pair in (("jwt-rsa", server.keys.rsa), ("jwt-ec", server.keys.ec)):
        signed = assertion(pair, name, server.issuer)
        check(f"authlib private_key_jwt {pair.alg}", call(server, token, {**CLIENT_CREDENTIALS, **signed}), issued)
        now = int(time.time())
        claims = {"iss": name, "sub": "ana", "aud": token, "iat": now, "exp": now + 60}
        bearer = {"grant_type": JWT_BEARER, "assertion": sign(pair, {"kid": pair.name}, claims), "scope": "orders:read"}
        check(f"authlib jwt-bearer {pair.alg}", call(server, token, bearer), lambda a: a["scope"] == "orders:read")
    password = {"grant_type": "password", "username": "ana", "password": about["users"]["ana"], "scope": "orders:read"}
    console = {"client_id": "console"}
    owned = check("authlib password grant", call(server, token, {**password, **console}), issued)
    old = {"grant_type": "refresh_token", "refresh_token": owned["refresh_token"], **console}
    renewed = check("authlib refresh", call(server, token, old), lambda a: a["refresh_token"] != old["refresh_token"])
    check("authlib old refresh token", call(server, token, old), refused("invalid_grant"))
    bearer = {"Authorization": f"Bearer {renewed['access_token']}"}
    check("authlib API", call(server, about["api"], headers=bearer), lambda a: a["sub"] == "ana")
    given = {"token": renewed["access_token"]}
    introspection = metadata["introspection_endpoint"]
    check("authlib introspection", call(server, introspection, given, basic=basic), lambda a: a["active"] is True)
    revoked = call(server, metadata["revocation_endpoint"], {**given, **console})
    check("authlib revocation", revoked, lambda a: a.status == 200)
    check("authlib revoked", call(server, about["api"], headers=bearer), lambda a: a.status == 401)


def doorkeeper(checks: Checks, server: Doorkeeper) -> None:
    about = server.describe()
    check = checks.check
    token, api = about["token_endpoint"], about["api"]
    secrets = {name: client.get("client_secret", "") for name, client in about["clients"].items()}
    orders = ("orders", secrets["orders"])

    first = call(server, token, CLIENT_CREDENTIALS, basic=orders)
    check("doorkeeper client_secret_basic", first, lambda a: issued(a) and a["created_at"])
    time.sleep(1.1)
    again = call(server, token, CLIENT_CREDENTIALS, basic=orders)
    same = again["access_token"] == first["access_token"]
    check("doorkeeper same token, less time", again, lambda a: same and a["expires_in"] < 300)
    post = {**CLIENT_CREDENTIALS, "client_id": "console", "client_secret": secrets["console"], "scope": "orders"}
    check("doorkeeper client_secret_post", call(server, token, post), lambda a: a["scope"] == "orders")
    bearer = {"Authorization": f"Bearer {again['access_token']}"}
    check("doorkeeper API", call(server, api, headers=bearer), lambda a: a["client_id"] == "orders")
    password = {"grant_type": "password", "username": "ana", "password": about["users"]["ana"]}
    owned = check("doorkeeper password grant", call(server, token, password, basic=orders), issued)
    renewal = {"grant_type": "refresh_token", "refresh_token": owned["refresh_token"]}
    check("doorkeeper refresh", call(server, token, renewal, basic=orders), lambda a: a["refresh_token"])
    code_flow(checks, server, about, "app", {}, scope="public orders")
    given = {"token": again["access_token"]}
    introspection = about["introspection_endpoint"]
    check("doorkeeper introspection", call(server, introspection, given, basic=orders), lambda a: a["active"] is True)
    check(
        "doorkeeper revocation",
        call(server, about["revocation_endpoint"], given, basic=orders),
        lambda a: a.status == 200,
    )
    check("doorkeeper revoked", call(server, api, headers=bearer), lambda a: a.status == 401)


def main() -> int:
    checks = Checks()
    servers = Keycloak(), OidcProvider(), Authlib(), Doorkeeper()
    began = time.monotonic()
    with running(servers):
        print(f"started in {time.monotonic() - began:.1f} s")
        keycloak(checks, servers[0])
        oidc_provider(checks, servers[1])
        authlib(checks, servers[2])
        doorkeeper(checks, servers[3])
    print(f"smoke: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
