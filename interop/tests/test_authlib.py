"""Authlib: an issuer with a path, JWTs as grants (RFC 7523), rotation."""

from __future__ import annotations

from typing import Any

import pytest
from servers import Authlib
from support import Command, Profiles, Witness, fetch

import qauth

SERVER = "authlib"
PASSWORD = {"username": "ana", "password": "Corr3ct-horse-battery"}
WHOAMI = "/api/whoami"


def api(server: Authlib) -> str:
    return server.issuer.removesuffix("/oauth")


def registered(profiles: Profiles, client: str, **keys: Any) -> dict[str, Any]:
    return profiles.by_issuer(client, client_auth=profiles.about["clients"][client]["auth_method"], **keys)


def statuses(server: Authlib, mark: int, path: str = "/oauth/token") -> list[int]:
    return [request.status for request in server.since(mark, path_end=path)]


# Where the server is


def test_a_server_whose_issuer_has_a_path_is_found(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    mark = server.mark()
    witness.token(profiles.source(registered(profiles, "basic")))
    found = [(request.method, request.path, request.status) for request in server.since(mark)]
    assert found == [
        ("GET", "/oauth/.well-known/openid-configuration", 404),
        # RFC 8414 3.1: before the path.
        ("GET", "/.well-known/oauth-authorization-server/oauth", 200),
        ("POST", "/oauth/token", 200),
    ]


def test_an_issuer_with_a_slash_too_many_is_config_and_says_so(
    server: Authlib, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(registered(profiles, "basic", issuer=server.issuer + "/"))
    assert "slash" in witness.refused(qauth.ConfigError, source.token).message


def test_an_issuer_without_its_path_is_config(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "basic", issuer=api(server)))
    assert "issuer" in witness.refused(qauth.ConfigError, source.token).message


def test_endpoints_of_the_profile_need_no_description(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    profile = registered(profiles, "basic", token_endpoint=f"{server.issuer}/token")
    del profile["issuer"]
    mark = server.mark()
    witness.token(profiles.source(profile))
    assert [request.path for request in server.since(mark)] == ["/oauth/token"]


# Who the client is


@pytest.mark.parametrize("client", ["basic", "post", "jwt-rsa", "jwt-ec"])
def test_a_client_proves_itself_as_it_is_registered(profiles: Profiles, witness: Witness, client: str) -> None:
    source = profiles.source(registered(profiles, client, scope="orders:read"))
    token = witness.token(source)
    assert token.scope == "orders:read"
    known = source.call("introspect", {"token": token.access_token})
    assert (known["active"], known["client_id"]) == (True, client)


@pytest.mark.parametrize("client", ["basic", "jwt-rsa", "jwt-ec"])
def test_a_method_is_found_from_what_the_profile_gives(profiles: Profiles, witness: Witness, client: str) -> None:
    source = profiles.source(profiles.by_issuer(client))
    assert source.call("introspect", {"token": witness.token(source).access_token})["client_id"] == client


def test_a_public_client_gives_its_name_alone(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("console", grant="password", api_base_url=api(server), **PASSWORD)
    source = profiles.source(profile)
    witness.token(source)
    assert source.request("GET", WHOAMI).json() == {"client_id": "console", "scope": "", "sub": "ana"}


@pytest.mark.parametrize("client", ["basic", "post"])
def test_a_wrong_secret_is_invalid_client_and_asked_about_once(
    server: Authlib, profiles: Profiles, witness: Witness, client: str
) -> None:
    wrong = "wrong-secret-66c1d2"
    witness.secrets.add(wrong)
    source = profiles.source(registered(profiles, client) | {"client_secret": wrong})
    mark = server.mark()
    for _ in range(4):
        assert witness.refused(qauth.InvalidClientError, source.token).server_error == "invalid_client"
    assert len(statuses(server, mark)) == 1


def test_another_method_than_the_registered_one_is_invalid_client(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(profiles.by_issuer("basic", client_auth="client_secret_post"))
    witness.refused(qauth.InvalidClientError, source.token)


def test_a_wrong_password_is_what_the_server_calls_it_and_asked_about_once(
    server: Authlib, profiles: Profiles, witness: Witness
) -> None:
    wrong = "Wr0ng-horse-battery"
    witness.secrets.add(wrong)
    profile = profiles.by_issuer("console", grant="password", **PASSWORD) | {"password": wrong}
    source = profiles.source(profile)
    mark = server.mark()
    for _ in range(3):
        # RFC 6749 5.2 has a word for it, invalid_grant.
        assert witness.refused(qauth.ConfigError, source.token).server_error == "invalid_request"
    assert statuses(server, mark) == [400]


def test_a_grant_that_the_client_does_not_have_is_config(profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("jwt-ec", grant="password", **PASSWORD)
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert error.server_error == "unauthorized_client"


# JWTs in exchange for tokens


@pytest.mark.parametrize("client", ["jwt-rsa", "jwt-ec"])
def test_a_signed_jwt_gives_a_token_of_the_person_it_names(
    server: Authlib, profiles: Profiles, witness: Witness, client: str
) -> None:
    profile = registered(profiles, client, grant="jwt_bearer", subject="ana", scope="orders:read")
    source = profiles.source(profile | {"api_base_url": api(server)})
    assert witness.token(source).scope == "orders:read"
    assert source.request("GET", WHOAMI).json() == {"client_id": client, "scope": "orders:read", "sub": "ana"}


def test_a_jwt_that_names_nobody_we_know_is_refused(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "jwt-ec", grant="jwt_bearer", subject="nobody"))
    assert witness.refused(qauth.InvalidGrantError, source.token).server_error == "invalid_grant"


def test_a_jwt_for_another_server_is_refused(profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("jwt-ec", assertion_audience="https://elsewhere.example")
    witness.refused(qauth.InvalidClientError, profiles.source(profile).token)


def test_a_jwt_is_never_sent_twice(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    # The server remembers each jti and takes it once.
    source = profiles.source(registered(profiles, "jwt-rsa"))
    mark = server.mark()
    for _ in range(4):
        source.invalidate(witness.token(source))
        source.reset()
    assert statuses(server, mark) == [200] * 4


# The life of a session


def test_rotating_refresh_tokens_are_used_once_each(server: Authlib, profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("console", grant="password", **PASSWORD)
    engine = profiles.engine({"p": profile | {"api_base_url": api(server)}}, testing={"clock": "manual"})
    source = engine.source("p")
    mark = server.mark()
    tokens = [witness.token(source).access_token]
    for _ in range(5):
        engine.advance(275)
        tokens.append(witness.token(source).access_token)
    assert len(set(tokens)) == 6
    # A refresh token that is used twice would be a 400, and a new login after it.
    assert statuses(server, mark) == [200] * 6
    assert source.request("GET", WHOAMI).json()["sub"] == "ana"
    # Each refresh has ended the token before it.
    headers = {"Authorization": f"Bearer {tokens[-2]}"}
    assert fetch(api(server) + WHOAMI, server.ssl_context(), headers=headers)[0] == 401


def test_a_revoked_token_is_not_active_any_more(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(registered(profiles, "basic"))
    given = {"token": witness.token(source).access_token}
    assert source.call("introspect", given)["active"] is True
    source.call("revoke", given)
    assert source.call("introspect", given)["active"] is False


def test_a_session_that_the_server_has_ended_is_begun_anew(
    server: Authlib, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("console", grant="password", api_base_url=api(server), **PASSWORD)
    source = profiles.source(profile)
    source.call("revoke", {"token": witness.token(source).access_token})
    mark = server.mark()
    assert source.request("GET", WHOAMI).json()["sub"] == "ana"
    # The refresh token died with it: refused once, then the login.
    assert statuses(server, mark) == [400, 200]


def test_the_command_gives_the_token_and_the_error_of_the_server(
    server: Authlib, profiles: Profiles, command: Command
) -> None:
    profile = registered(profiles, "jwt-rsa", api_base_url=api(server))
    command.configure(profile)
    done = command.run("request", "p", WHOAMI, "--fail")
    assert done.returncode == 0, done.stderr
    assert '"jwt-rsa"' in done.stdout
    command.configure(profile | {"private_key": f"file:{server.keys.ec.key_file}"})
    done = command.run("token", "p")
    assert done.returncode != 0
    assert "invalid_client" in done.stderr


def test_no_secret_and_no_token_was_said(witness: Witness) -> None:
    witness.check()
