"""Keycloak: the built-in provider `qpay` as it is, and `oauth2` by the issuer alone."""

from __future__ import annotations

from typing import Any

import pytest
from servers import Keycloak
from servers.browser import visit
from support import Command, Profiles, Witness, certificate_thumbprint, claims, fetch, key_thumbprint

import qauth

SERVER = "keycloak"
PASSWORD = {"username": "ana", "password": "Corr3ct-horse-battery"}
METHODS = {
    "qpay-orders": "client-secret",
    "qpay-secret-jwt": "client-secret-jwt",
    "qpay-jwt-rsa": "client-jwt",
    "qpay-jwt-ec": "client-jwt",
}


def qpay(server: Keycloak, profiles: Profiles, client: str = "qpay-orders", **keys: Any) -> dict[str, Any]:
    """QPay's own file, at another address."""
    base = server.issuer.removesuffix("/auth/realms/qpay")
    return {"provider": "qpay", "base_url": base, **profiles.credentials(client), **keys}


def console(server: Keycloak, **keys: Any) -> dict[str, Any]:
    base = server.issuer.removesuffix("/auth/realms/qpay")
    return {"provider": "qpay", "base_url": base, "grant": "password", **PASSWORD, **keys}


def introspect(profiles: Profiles, token: qauth.Token) -> dict[str, Any]:
    """What Keycloak knows of a token."""
    found: dict[str, Any] = profiles.source(profiles.by_issuer("qpay-orders")).call(
        "introspect", {"token": token.access_token}
    )
    return found


# QPay's own provider file


def test_qpay_client_credentials_give_a_token_of_300_seconds(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    token = witness.token(profiles.source(qpay(server, profiles)))
    assert token.expires_in is not None
    assert 290 < token.expires_in <= 300
    assert claims(token.access_token)["azp"] == "qpay-orders"


def test_qpay_password_grant_signs_a_person_in_for_300_seconds(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    token = witness.token(profiles.source(console(server)))
    assert token.expires_in is not None
    assert 290 < token.expires_in <= 300
    said = claims(token.access_token)
    assert (said["azp"], said["preferred_username"]) == ("qpay-console", "ana")
    assert introspect(profiles, token)["active"] is True


def test_qpay_tokens_are_renewed_before_their_end_each_time(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    for client, profile in (("qpay-orders", qpay(server, profiles)), ("qpay-console", console(server))):
        engine = profiles.engine({"p": profile}, testing={"clock": "manual"})
        source = engine.source("p")
        mark = server.mark()
        tokens = [witness.token(source).access_token]
        for _ in range(3):
            engine.advance(275)
            tokens.append(witness.token(source).access_token)
        assert len(set(tokens)) == 4
        # The file declares no refresh: the document asks for a new token. Nothing else is sent.
        types = [event["type"] for event in server.events(mark, client)]
        assert types == ["CLIENT_LOGIN" if client == "qpay-orders" else "LOGIN"] * 4


def test_a_wrong_secret_is_invalid_client_and_asked_about_once(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    wrong = "wrong-secret-5d1f77"
    witness.secrets.add(wrong)
    source = profiles.source({**qpay(server, profiles), "client_secret": wrong})
    mark = server.mark()
    error = witness.refused(qauth.InvalidClientError, source.token)
    assert (error.status, error.server_error) == (401, "unauthorized_client")
    for _ in range(5):
        witness.refused(qauth.InvalidClientError, source.token)
    assert [event["type"] for event in server.events(mark, "qpay-orders")] == ["CLIENT_LOGIN_ERROR"]


def test_a_wrong_password_is_invalid_grant_and_asked_about_once(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    wrong = "Wr0ng-horse-battery"
    witness.secrets.add(wrong)
    source = profiles.source({**console(server), "password": wrong})
    mark = server.mark()
    error = witness.refused(qauth.InvalidGrantError, source.token)
    assert (error.status, error.server_error) == (400, "invalid_grant")
    witness.refused(qauth.InvalidGrantError, source.token)
    assert [event["type"] for event in server.events(mark, "qpay-console")] == ["LOGIN_ERROR"]


def test_a_right_secret_works_at_once_after_a_wrong_one(server: Keycloak, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source({**qpay(server, profiles), "client_secret": "wrong-secret-5d1f77"})
    witness.refused(qauth.InvalidClientError, source.token)
    source.update(client_secret=profiles.about["clients"]["qpay-orders"]["client_secret"])
    assert witness.token(source).token_type == "Bearer"


def test_an_unknown_realm_is_config(server: Keycloak, profiles: Profiles, witness: Witness) -> None:
    error = witness.refused(qauth.ConfigError, profiles.source(qpay(server, profiles, realm="nowhere")).token)
    assert error.status == 404


def test_an_unknown_client_is_invalid_client(server: Keycloak, profiles: Profiles, witness: Witness) -> None:
    source = profiles.source({**qpay(server, profiles), "client_id": "qpay-nobody"})
    witness.refused(qauth.InvalidClientError, source.token)


def test_a_scope_that_is_unknown_is_config(server: Keycloak, profiles: Profiles, witness: Witness) -> None:
    error = witness.refused(qauth.ConfigError, profiles.source(qpay(server, profiles, scope="nonsense")).token)
    assert error.server_error == "invalid_scope"


# Any server, by its issuer


@pytest.mark.parametrize("client", METHODS)
def test_a_client_proves_itself_as_it_is_registered(
    server: Keycloak, profiles: Profiles, witness: Witness, client: str
) -> None:
    # Keycloak offers every method to everybody; which one a client has, its owner knows.
    profile = profiles.by_issuer(client, client_auth=profiles.about["clients"][client]["auth_method"])
    mark = server.mark()
    token = witness.token(profiles.source(profile))
    assert claims(token.access_token)["azp"] == client
    (event,) = server.events(mark, client)
    assert event["client_auth_method"] == METHODS[client]
    if client.startswith("qpay-jwt"):
        assert event["client_jwt_kid"] == profiles.about["clients"][client]["key_id"]


@pytest.mark.parametrize("client", ["qpay-orders", "qpay-jwt-rsa", "qpay-jwt-ec"])
def test_a_method_is_found_from_what_the_profile_gives(profiles: Profiles, witness: Witness, client: str) -> None:
    token = witness.token(profiles.source(profiles.by_issuer(client)))
    assert claims(token.access_token)["azp"] == client


def test_a_secret_may_go_into_the_form(profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("qpay-orders", client_auth="client_secret_post")
    assert claims(witness.token(profiles.source(profile)).access_token)["azp"] == "qpay-orders"


def test_a_certificate_proves_the_client_and_binds_the_token(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("qpay-x509", issuer=server.https_issuer)
    token = witness.token(profiles.source(profile))
    known = profiles.about["clients"]["qpay-x509"]
    expected = certificate_thumbprint(known["certificate_file"])
    assert claims(token.access_token)["cnf"] == {"x5t#S256": expected}


def test_a_certificate_of_an_unknown_authority_is_refused(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    keys = server.keys.self_signed
    profile = profiles.by_issuer(
        "qpay-x509",
        issuer=server.https_issuer,
        certificate=f"file:{keys.certificate_file}",
        certificate_key=f"file:{keys.key_file}",
    )
    # Keycloak says so in the handshake already.
    witness.refused(qauth.TlsError, profiles.source(profile).token)


def test_a_token_is_bound_to_the_key_that_the_profile_gives(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("qpay-dpop", dpop=True, dpop_key=f"file:{server.keys.ec.key_file}")
    source = profiles.source(profile)
    token = witness.token(source)
    assert token.token_type == "DPoP"
    # Keycloak writes a member of its own beside it.
    assert claims(token.access_token)["cnf"]["jkt"] == key_thumbprint(server.keys.ec.jwk())
    known = source.call("introspect", {"token": token.access_token})
    assert known["active"] is True
    assert known["cnf"]["jkt"] == key_thumbprint(server.keys.ec.jwk())


def test_a_token_is_bound_to_a_fresh_key_where_the_profile_gives_none(profiles: Profiles, witness: Witness) -> None:
    first, second = (witness.token(profiles.source(profiles.by_issuer("qpay-dpop", dpop=True))) for _ in range(2))
    assert first.token_type == second.token_type == "DPoP"
    assert claims(first.access_token)["cnf"]["jkt"] != claims(second.access_token)["cnf"]["jkt"]


def test_a_bound_token_is_renewed_with_the_same_key(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(profiles.by_issuer("qpay-dpop", dpop=True))
    first = witness.token(source)
    source.invalidate(first)
    second = witness.token(source)
    assert second.generation > first.generation
    assert claims(first.access_token)["cnf"]["jkt"] == claims(second.access_token)["cnf"]["jkt"]


def test_a_bearer_token_where_the_server_wants_proof_is_config(profiles: Profiles, witness: Witness) -> None:
    error = witness.refused(qauth.ConfigError, profiles.source(profiles.by_issuer("qpay-dpop")).token)
    assert error.server_error == "invalid_request"


def test_a_bound_token_opens_the_userinfo_endpoint(profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("qpay-dpop", dpop=True, grant="password", scope="openid", **PASSWORD)
    source = profiles.source(profile)
    witness.token(source)
    assert source.call("userinfo")["preferred_username"] == "ana"


def test_rotating_refresh_tokens_are_used_once_each_and_the_session_stays(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("qpay-console", grant="password", **PASSWORD)
    engine = profiles.engine({"p": profile}, testing={"clock": "manual"})
    source = engine.source("p")
    mark = server.mark()
    tokens = [witness.token(source)]
    for _ in range(6):
        engine.advance(275)
        tokens.append(witness.token(source))
    assert len({token.access_token for token in tokens}) == 7
    events = server.events(mark, "qpay-console")
    assert [event["type"] for event in events] == ["LOGIN"] + ["REFRESH_TOKEN"] * 6
    used = [event["refresh_token_id"] for event in events[1:]]
    assert len(set(used)) == 6
    # Each one is the successor of the one before.
    assert used[1:] == [event["updated_refresh_token_id"] for event in events[1:-1]]
    assert len({event["sessionId"] for event in events}) == 1
    assert introspect(profiles, tokens[-1])["active"] is True


def test_a_session_that_the_server_has_ended_is_begun_anew(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("qpay-console", grant="password", **PASSWORD)
    source = profiles.source(profile)
    first = witness.token(source)
    logout = f"{server.issuer}/protocol/openid-connect/revoke"
    status, _, _ = fetch(logout, server.ssl_context(), {"token": first.access_token, "client_id": "qpay-console"})
    assert status == 200
    assert introspect(profiles, first)["active"] is False
    source.invalidate(first)
    assert introspect(profiles, witness.token(source))["active"] is True


def test_a_token_is_exchanged_for_one_of_another_audience(profiles: Profiles, witness: Witness) -> None:
    subject = witness.token(profiles.source(profiles.by_issuer("qpay-console", grant="password", **PASSWORD)))
    profile = profiles.by_issuer(
        "qpay-orders", grant="token_exchange", subject_token=subject.access_token, audience="qpay-ledger"
    )
    said = claims(witness.token(profiles.source(profile)).access_token)
    assert (said["azp"], said["aud"], said["preferred_username"]) == ("qpay-orders", "qpay-ledger", "ana")


def test_an_exchange_of_nonsense_is_refused(profiles: Profiles, witness: Witness) -> None:
    nonsense = "nonsense-token-8812ac"
    witness.secrets.add(nonsense)
    profile = profiles.by_issuer("qpay-orders", grant="token_exchange", subject_token=nonsense, audience="qpay-ledger")
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert error.server_error == "invalid_request"


def test_a_revoked_token_is_not_active_any_more(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(profiles.by_issuer("qpay-console", grant="password", **PASSWORD))
    token = witness.token(source)
    assert introspect(profiles, token)["active"] is True
    source.call("revoke", {"token": token.access_token, "token_type_hint": "access_token"})
    assert introspect(profiles, token)["active"] is False


def test_an_issuer_with_a_slash_too_many_is_config_and_says_so(
    server: Keycloak, profiles: Profiles, witness: Witness
) -> None:
    profile = profiles.by_issuer("qpay-orders", issuer=server.issuer + "/")
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert "slash" in error.message


def test_an_issuer_of_an_unknown_realm_is_config(server: Keycloak, profiles: Profiles, witness: Witness) -> None:
    profile = profiles.by_issuer("qpay-orders", issuer=server.issuer + "-else")
    error = witness.refused(qauth.ConfigError, profiles.source(profile).token)
    assert "issuer" in error.message


# A person signs in: the command line


def signed_in(server: Keycloak, command: Command) -> str:
    """The token of another process, and whom it stands for."""
    name: str = claims(command.token())["preferred_username"]
    return name


def test_a_person_signs_in_by_code_and_every_process_has_tokens_until_the_logout(
    server: Keycloak, profiles: Profiles, command: Command
) -> None:
    kept = command.configure(profiles.by_issuer("qpay-app", grant="authorization_code", scope="openid"))
    assert command.run("token", "p").returncode == 6
    done = command.login_by_code(PASSWORD)
    assert done.returncode == 0, done.stderr
    seen = [kept.read_text()]
    for _ in range(3):
        assert signed_in(server, command) == "ana"
        seen.append(kept.read_text())
    command.witness.secrets.update(text.strip() for text in seen)
    # Each process uses the refresh token that it finds, once, and leaves its successor.
    assert len(set(seen)) == 4
    assert kept.stat().st_mode & 0o777 == 0o600
    done = command.run("logout", "p")
    assert done.returncode == 0, done.stderr
    assert not kept.exists()
    form = {"grant_type": "refresh_token", "client_id": "qpay-app", "refresh_token": seen[-1].strip()}
    status, answer, _ = fetch(f"{server.issuer}/protocol/openid-connect/token", server.ssl_context(), form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert command.run("token", "p").returncode == 6


def test_a_person_signs_in_on_another_device(server: Keycloak, profiles: Profiles, command: Command) -> None:
    kept = command.configure(profiles.by_issuer("qpay-device", grant="device_code", scope="openid"))

    def approve(code: str) -> None:
        page = f"{server.issuer}/device?user_code={code}"
        visit(page, server.ssl_context(), PASSWORD)

    done = command.login_by_device(approve)
    assert done.returncode == 0, done.stderr
    assert signed_in(server, command) == "ana"
    command.witness.secrets.add(kept.read_text().strip())


def test_no_secret_and_no_token_was_said(witness: Witness) -> None:
    witness.check()
