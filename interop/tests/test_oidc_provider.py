"""oidc-provider: every client authentication, bound tokens at an API, DPoP with nonces, resources, sign-ins."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import httpx2
import pytest
import requests
from servers import OidcProvider
from support import NODE_APP, REPOSITORY, Command, Profiles, Witness, claims, fetch, key_thumbprint

import qauth

SERVER = "oidc-provider"
METHODS = ["basic", "post", "secret-jwt", "jwt-rsa", "jwt-ec", "tls", "tls-self-signed"]
SCOPES = "openid offline_access api:read"
WHOAMI = "/api/whoami"


def registered(profiles: Profiles, client: str, **keys: Any) -> dict[str, Any]:
    """With the method that the client is registered with."""
    return profiles.by_issuer(client, client_auth=profiles.about["clients"][client]["auth_method"], **keys)


def other_name(server: OidcProvider) -> str:
    """The same server by another name: to a client it is a host of its own, of whose nonces it knows none."""
    return server.issuer.replace("127.0.0.1", "localhost")


def dpop(server: OidcProvider, profiles: Profiles, **keys: Any) -> dict[str, Any]:
    return profiles.by_issuer("dpop", dpop=True, api_base_url=other_name(server), **keys)


def statuses(server: OidcProvider, mark: int, path: str = WHOAMI) -> list[int]:
    return [request.status for request in server.since(mark, path_end=path)]


@pytest.fixture
def session(server: OidcProvider) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(server.keys.ca_file)
    return session


# Who the client is


@pytest.mark.parametrize("client", METHODS)
def test_a_client_proves_itself_as_it_is_registered(profiles: Profiles, witness: Witness, client: str) -> None:
    source = profiles.source(registered(profiles, client))
    token = witness.token(source)
    known = source.call("introspect", {"token": token.access_token})
    assert (known["active"], known["client_id"]) == (True, client)


@pytest.mark.parametrize("client", ["basic", "jwt-rsa", "jwt-ec", "tls"])
def test_a_method_is_found_from_what_the_profile_gives(profiles: Profiles, witness: Witness, client: str) -> None:
    source = profiles.source(profiles.by_issuer(client))
    assert source.call("introspect", {"token": witness.token(source).access_token})["client_id"] == client


@pytest.mark.parametrize("client", ["basic", "post"])
def test_a_wrong_secret_is_invalid_client_and_asked_about_once(
    server: OidcProvider, profiles: Profiles, witness: Witness, client: str
) -> None:
    wrong = "wrong-secret-7b20fe"
    witness.secrets.add(wrong)
    source = profiles.source(registered(profiles, client) | {"client_secret": wrong})
    mark = server.mark()
    for _ in range(4):
        error = witness.refused(qauth.InvalidClientError, source.token)
        assert (error.status, error.server_error) == (401, "invalid_client")
    assert statuses(server, mark, "/token") == [401]


def test_a_method_that_the_client_does_not_have_is_invalid_client(profiles: Profiles, witness: Witness) -> None:
    # It takes client_secret_post from a client of client_secret_basic, but not this one.
    profile = profiles.by_issuer("basic", client_auth="client_secret_jwt")
    witness.refused(qauth.InvalidClientError, profiles.source(profile).token)


def test_a_key_of_somebody_else_is_invalid_client(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    profile = registered(profiles, "jwt-ec") | {"private_key": f"file:{server.keys.tls_client.key_file}"}
    witness.refused(qauth.InvalidClientError, profiles.source(profile).token)


def test_a_grant_that_the_client_does_not_have_is_config(profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("app", grant="client_credentials", client_auth="none")
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    # RFC 6749 5.2 has a word for it, unauthorized_client.
    assert error.server_error == "invalid_request"


# Where the server is


def test_a_certificate_goes_to_the_addresses_that_are_there_for_certificates(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    mark = server.mark()
    witness.token(profiles.source(registered(profiles, "tls")))
    witness.token(profiles.source(registered(profiles, "basic")))
    hosts = [request.host.partition(":")[0] for request in server.since(mark, "POST", "/token") if request.host]
    # RFC 8705 5: mtls_endpoint_aliases; without a certificate the plain ones.
    assert hosts == ["localhost", "127.0.0.1"]


def test_the_description_is_read_once_for_all_sources_of_an_engine(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    engine = profiles.engine({"a": registered(profiles, "basic"), "b": registered(profiles, "post")})
    mark = server.mark()
    for name in ("a", "b"):
        witness.token(engine.source(name))
    assert statuses(server, mark, "/.well-known/openid-configuration") == [200]


def test_an_issuer_with_a_slash_too_many_is_config_and_says_so(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    profile = registered(profiles, "basic", issuer=server.issuer + "/")
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert "slash" in error.message


def test_an_issuer_that_calls_itself_otherwise_is_config(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    profile = registered(profiles, "basic", issuer=other_name(server))
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert "issuer" in error.message


def test_a_server_of_an_unknown_authority_is_tls(profiles: Profiles, witness: Witness) -> None:
    with qauth.Engine({"profiles": {"p": registered(profiles, "basic")}}) as engine:
        witness.refused(qauth.TlsError, engine.source("p").token)


# Tokens for a resource, and tokens bound to a certificate


@pytest.mark.parametrize("place", [0, 1])
def test_a_resource_is_the_audience_of_its_token(profiles: Profiles, witness: Witness, place: int) -> None:
    resource = profiles.about["resources"][place]
    source = profiles.source(registered(profiles, "basic")).scoped(resource=resource, scope="api:read")
    token = witness.token(source)
    said = claims(token.access_token)
    assert (said["aud"], said["scope"]) == (resource, "api:read")


def test_tokens_of_two_resources_are_kept_apart(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "basic", api_base_url=server.issuer))
    api, ledger = (source.scoped(resource=resource) for resource in profiles.about["resources"])
    assert witness.token(api).access_token != witness.token(ledger).access_token
    assert api.request("GET", WHOAMI).status == 200
    assert ledger.request("GET", WHOAMI).status == 401


def test_an_unknown_resource_is_config(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "basic")).scoped(resource="urn:unknown")
    assert witness.refused(qauth.ConfigError, source.token).server_error == "invalid_target"


@pytest.mark.parametrize("client", ["tls", "tls-self-signed"])
def test_a_token_bound_to_a_certificate_opens_the_api_with_it_alone(
    server: OidcProvider, profiles: Profiles, witness: Witness, client: str
) -> None:
    profile = registered(profiles, client, api_base_url=server.issuer, resource=f"{server.issuer}/api")
    source = profiles.source(profile, transport=profiles.transport())
    answer = source.request("GET", WHOAMI)
    assert answer.status == 200, answer.text()
    assert (answer.json()["client_id"], answer.json()["bound"]) == (client, "certificate")
    headers = {"Authorization": witness.token(source).header_value}
    status, body, _ = fetch(server.issuer + WHOAMI, server.ssl_context(), headers=headers)
    assert (status, body["error"]) == (401, "invalid_token")


def test_a_certificate_serves_the_requests_of_another_client_too(
    server: OidcProvider, profiles: Profiles, witness: Witness, session: requests.Session
) -> None:
    profile = registered(profiles, "tls", api_base_url=server.issuer)
    known = profiles.about["clients"]["tls"]
    session.cert = (known["certificate_file"], known["private_key_file"])
    answer = session.get(server.issuer + WHOAMI, auth=profiles.source(profile).requests_auth())
    assert (answer.status_code, answer.json()["bound"]) == (200, "certificate")


# DPoP, where both the token endpoint and the API want nonces


def test_the_token_endpoint_gets_its_nonce(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(dpop(server, profiles))
    mark = server.mark()
    first = witness.token(source)
    assert first.token_type == "DPoP"
    # Known from the answer to the first, and used from then on.
    source.invalidate(first)
    witness.token(source)
    assert statuses(server, mark, "/token") == [400, 200, 200]


def test_a_request_proves_its_key_with_the_nonce_of_the_api(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(dpop(server, profiles))
    witness.token(source)
    mark = server.mark()
    for _ in range(3):
        answer = source.request("GET", WHOAMI, query={"page": "2"})
        assert answer.status == 200, answer.text()
        assert answer.json()["bound"] == "dpop"
    assert statuses(server, mark) == [401, 200, 200, 200]
    # The nonce was all that was missing: the token stayed.
    assert statuses(server, mark, "/token") == []


def test_requests_proves_its_key_with_the_nonce_of_the_api(
    server: OidcProvider, profiles: Profiles, witness: Witness, session: requests.Session
) -> None:
    source = profiles.source(dpop(server, profiles))
    witness.token(source)
    mark = server.mark()
    for _ in range(3):
        answer = session.get(other_name(server) + WHOAMI, params={"page": "2"}, auth=source.requests_auth())
        assert (answer.status_code, answer.json()["bound"]) == (200, "dpop")
    assert statuses(server, mark) == [401, 200, 200, 200]
    assert statuses(server, mark, "/token") == []


def test_fetch_proves_its_key_with_the_nonce_of_the_api(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    config = {"profiles": {"p": dpop(server, profiles)}, "transport": profiles.transport()}
    mark = server.mark()
    done = subprocess.run(
        ["node", REPOSITORY / "interop/tests/fetch.mjs", NODE_APP, f"{WHOAMI}?page=2"],
        input=json.dumps(config),
        # Node's own fetch knows this authority from here alone.
        env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(server.keys.ca_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    witness.hear(done.stderr)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    witness.secrets.add(told.pop("accessToken"))
    witness.hear(told)
    assert told["answers"] == [{"status": 200, "bound": "dpop", "client": "dpop"}] * 3
    assert statuses(server, mark) == [401, 200, 200, 200]
    assert statuses(server, mark, "/token") == [400, 200]


@pytest.mark.parametrize("client", ["urllib", "httpx"])
def test_headers_are_enough_for_a_client_of_ones_own(
    server: OidcProvider, profiles: Profiles, witness: Witness, client: str
) -> None:
    # The API is at the token endpoint's own address, so its nonce is known.
    source = profiles.source(dpop(server, profiles) | {"api_base_url": server.issuer})
    url = f"{server.issuer}{WHOAMI}"
    witness.token(source)
    for _ in range(2):
        headers = dict(source.headers("GET", url))
        if client == "urllib":
            status, body, _ = fetch(url, server.ssl_context(), headers=headers)
        else:
            with httpx2.Client(verify=server.ssl_context(), trust_env=False) as session:
                answer = session.get(url, headers=headers)
                status, body = answer.status_code, answer.json()
        assert (status, body["bound"]) == (200, "dpop")


def test_a_proof_is_good_for_one_request(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(dpop(server, profiles) | {"api_base_url": server.issuer})
    witness.token(source)
    headers = dict(source.headers("GET", WHOAMI))
    url = f"{server.issuer}{WHOAMI}"
    assert [fetch(url, server.ssl_context(), headers=headers)[0] for _ in range(2)] == [200, 401]


def test_a_bound_token_without_its_proof_is_worth_nothing(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    token = witness.token(profiles.source(dpop(server, profiles)))
    for value in (f"DPoP {token.access_token}", f"Bearer {token.access_token}"):
        assert fetch(f"{server.issuer}{WHOAMI}", server.ssl_context(), headers={"Authorization": value})[0] == 401


def test_one_header_is_not_enough_for_a_bound_token(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(dpop(server, profiles))
    witness.token(source)
    witness.refused(qauth.UnsupportedError, source.header)


@pytest.mark.parametrize("pair", ["rsa", "ec"])
def test_a_token_is_bound_to_the_key_that_the_profile_gives(
    server: OidcProvider, profiles: Profiles, witness: Witness, pair: str
) -> None:
    key = getattr(server.keys, pair)
    source = profiles.source(dpop(server, profiles, dpop_key=f"file:{key.key_file}"))
    token = witness.token(source)
    known = source.call("introspect", {"token": token.access_token})
    assert known["active"] is True
    if pair == "ec":
        assert known["cnf"] == {"jkt": key_thumbprint(key.jwk())}
    assert source.request("GET", WHOAMI).status == 200


# Afterwards


def test_a_revoked_token_is_not_active_any_more(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "basic"))
    given = {"token": witness.token(source).access_token}
    assert source.call("introspect", given)["active"] is True
    source.call("revoke", given)
    assert source.call("introspect", given)["active"] is False


def test_a_revoked_token_is_renewed_by_the_first_request_that_meets_it(
    server: OidcProvider, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(registered(profiles, "basic", api_base_url=server.issuer))
    old = witness.token(source)
    source.call("revoke", {"token": old.access_token})
    mark = server.mark()
    assert source.request("GET", WHOAMI).status == 200
    assert statuses(server, mark) == [401, 200]
    assert witness.token(source).access_token != old.access_token


# A person signs in: the command line


def approve(server: OidcProvider, code: str, more: str = "") -> None:
    status, _, _ = fetch(f"{server.issuer}/test/device?user_code={code}{more}", server.ssl_context())
    assert status == 204


def whoami(command: Command) -> Any:
    done = command.run("request", "p", WHOAMI, "--fail")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def person(server: OidcProvider, profiles: Profiles, client: str, grant: str, **keys: Any) -> dict[str, Any]:
    return profiles.by_issuer(client, grant=grant, scope=SCOPES, api_base_url=server.issuer, **keys)


def rotated_and_ended(server: OidcProvider, command: Command, kept: Any) -> None:
    """After a sign-in other processes have tokens, each from a refresh token of its own, until the logout."""
    seen = [kept.read_text().strip()]
    mark = server.mark()
    for _ in range(3):
        command.token()
        seen.append(kept.read_text().strip())
        assert whoami(command)["sub"] == "ana"
        seen.append(kept.read_text().strip())
    command.witness.secrets.update(seen)
    assert len(set(seen)) == len(seen)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert set(statuses(server, mark, "/token")) <= {200}
    last = seen[-1]
    done = command.run("logout", "p")
    assert done.returncode == 0, done.stderr
    assert not kept.exists()
    client = json.loads(command.config.read_text())["profiles"]["p"]["client_id"]
    form = {"grant_type": "refresh_token", "client_id": client, "refresh_token": last}
    status, answer, _ = fetch(f"{server.issuer}/token", server.ssl_context(), form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert command.run("token", "p").returncode == 6


def test_a_person_signs_in_by_code_and_every_process_has_tokens_until_the_logout(
    server: OidcProvider, profiles: Profiles, command: Command
) -> None:
    kept = command.configure(person(server, profiles, "app", "authorization_code"))
    done = command.login_by_code({})
    assert done.returncode == 0, done.stderr
    rotated_and_ended(server, command, kept)


def test_a_person_signs_in_on_another_device_and_every_process_has_tokens_until_the_logout(
    server: OidcProvider, profiles: Profiles, command: Command
) -> None:
    kept = command.configure(person(server, profiles, "device", "device_code"))
    done = command.login_by_device(lambda code: approve(server, code))
    assert done.returncode == 0, done.stderr
    rotated_and_ended(server, command, kept)


def test_a_person_who_says_no_on_the_other_device_is_told_so(
    server: OidcProvider, profiles: Profiles, command: Command
) -> None:
    kept = command.configure(person(server, profiles, "device", "device_code"))
    done = command.login_by_device(lambda code: approve(server, code, "&deny=1"))
    assert done.returncode != 0
    assert "access_denied" in done.stderr
    assert not kept.exists()


def test_a_sign_in_gives_a_token_for_a_resource(server: OidcProvider, profiles: Profiles, command: Command) -> None:
    resource = f"{server.issuer}/api"
    kept = command.configure(person(server, profiles, "app", "authorization_code", resource=resource))
    done = command.login_by_code({})
    assert done.returncode == 0, done.stderr
    said = claims(command.token())
    assert (said["aud"], said["sub"]) == (resource, "ana")
    command.witness.secrets.add(kept.read_text().strip())


def test_a_sign_in_gives_tokens_that_are_bound_to_the_profiles_key(
    server: OidcProvider, profiles: Profiles, command: Command
) -> None:
    key = f"file:{server.keys.ec.key_file}"
    kept = command.configure(person(server, profiles, "dpop-app", "authorization_code", dpop=True, dpop_key=key))
    done = command.login_by_code({})
    assert done.returncode == 0, done.stderr
    assert (whoami(command)["bound"], whoami(command)["bound"]) == ("dpop", "dpop")
    command.witness.secrets.add(kept.read_text().strip())


def test_a_refresh_that_is_refused_for_what_it_asks_says_so_and_ends_no_sign_in(
    server: OidcProvider, profiles: Profiles, command: Command, witness: Witness
) -> None:
    profile = person(server, profiles, "device", "device_code")
    kept = command.configure(profile)
    assert command.login_by_device(lambda code: approve(server, code)).returncode == 0
    command.witness.secrets.add(kept.read_text().strip())
    # The person can do nothing about it: signing in again would end the same.
    narrowed = profiles.source({**profile, "refresh_token": f"file:{kept}"}).scoped(scope="unknown")
    error = witness.refused(qauth.ConfigError, narrowed.token)
    assert "invalid_scope" in str(error)
    command.token()
    command.witness.secrets.add(kept.read_text().strip())


def test_a_token_without_a_sign_in_asks_for_one(server: OidcProvider, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(person(server, profiles, "app", "authorization_code"))
    error = witness.refused(qauth.ReauthenticationRequiredError, source.token)
    assert "qauth login" in error.message


def test_no_secret_and_no_token_was_said(witness: Witness) -> None:
    witness.check()
