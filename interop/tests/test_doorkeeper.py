"""Doorkeeper: the built-in provider `quiqup` as it is, and `oauth2` with explicit addresses."""

from __future__ import annotations

import time
from typing import Any

from servers import Doorkeeper
from support import Command, Profiles, Witness, fetch

import qauth

SERVER = "doorkeeper"
PASSWORD = {"username": "ana", "password": "Corr3ct-horse-battery"}
WHOAMI = "/api/whoami"


def quiqup(server: Doorkeeper, profiles: Profiles, client: str = "console", **keys: Any) -> dict[str, Any]:
    """Quiqup's own file, at another address."""
    return {"provider": "quiqup", "base_url": server.issuer, **profiles.credentials(client), **keys}


def explicit(profiles: Profiles, client: str, **keys: Any) -> dict[str, Any]:
    """The server describes nothing: the profile says where things are."""
    needed = ["token_endpoint", "introspection_endpoint", "revocation_endpoint"]
    if keys.get("grant") == "authorization_code":
        needed.append("authorization_endpoint")
    places = {name: profiles.about[name] for name in needed}
    return {
        "provider": "oauth2",
        "api_base_url": profiles.about["issuer"],
        **places,
        **profiles.credentials(client),
        **keys,
    }


def statuses(server: Doorkeeper, mark: int, path: str = "/oauth/token") -> list[int]:
    return [request.status for request in server.since(mark, path_end=path)]


# Quiqup's own provider file


def test_quiqup_credentials_in_json_give_a_token_that_opens_the_api(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(quiqup(server, profiles))
    token = witness.token(source)
    assert token.token_type == "Bearer"
    answer = source.request("GET", WHOAMI)
    assert (answer.status, answer.json()["client_id"]) == (200, "console")


def test_the_same_token_again_lives_for_what_is_left_of_it(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    first = witness.token(profiles.source(quiqup(server, profiles)))
    created = first.extras["created_at"]
    ends = created + 300
    time.sleep(2.1)
    again = witness.token(profiles.source(quiqup(server, profiles)))
    assert (again.access_token, again.extras["created_at"]) == (first.access_token, created)
    assert first.expires_at is not None
    assert again.expires_at is not None
    assert again.expires_in is not None
    # created_at is not added, nor is the life counted from the second answer anew.
    assert again.expires_in <= 300 - 2
    for token in (first, again):
        assert abs(token.expires_at.timestamp() - ends) < 2


def test_a_token_that_comes_back_the_same_makes_no_loop(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(quiqup(server, profiles, "orders"))
    first = witness.token(source)
    mark = server.mark()
    source.invalidate(first)
    # The server gives the same one as long as it is fresh.
    assert witness.token(source).access_token == first.access_token
    for _ in range(20):
        assert source.request("GET", WHOAMI).status == 200
    assert statuses(server, mark) == [200]


def test_quiqup_wrong_credentials_are_invalid_client_and_asked_about_once(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    wrong = "wrong-secret-1f8e4d"
    witness.secrets.add(wrong)
    source = profiles.source({**quiqup(server, profiles), "client_secret": wrong})
    mark = server.mark()
    for _ in range(4):
        error = witness.refused(qauth.InvalidClientError, source.token)
        assert (error.status, error.server_error) == (401, "invalid_client")
    assert statuses(server, mark) == [401]


def test_a_token_that_was_revoked_behind_our_back_is_renewed_by_the_first_request(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    source = profiles.source(quiqup(server, profiles))
    old = witness.token(source)
    known = profiles.credentials("console")
    form = {"token": old.access_token, **known}
    assert fetch(profiles.about["revocation_endpoint"], server.ssl_context(), form)[0] == 200
    mark = server.mark()
    assert source.request("GET", WHOAMI).status == 200
    assert witness.token(source).access_token != old.access_token
    assert statuses(server, mark, WHOAMI) == [401, 200]


# Any server, with explicit addresses


def test_a_secret_in_a_header_and_in_a_form_are_both_taken(profiles: Profiles, witness: Witness) -> None:
    for method in ("client_secret_basic", "client_secret_post"):
        source = profiles.source(explicit(profiles, "orders", client_auth=method, scope="orders"))
        assert witness.token(source).scope == "orders"
        assert source.request("GET", WHOAMI).json()["client_id"] == "orders"


def test_scopes_have_tokens_of_their_own(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(explicit(profiles, "orders"))
    one, two = (witness.token(source.scoped(scope=scope)) for scope in ("orders", "write"))
    assert (one.scope, two.scope) == ("orders", "write")
    assert one.access_token != two.access_token


def test_an_unknown_scope_is_config(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(explicit(profiles, "orders", scope="nonsense"))
    assert witness.refused(qauth.ConfigError, source.token).server_error == "invalid_scope"


def test_a_wrong_password_is_invalid_grant_and_asked_about_once(
    server: Doorkeeper, profiles: Profiles, witness: Witness
) -> None:
    wrong = "Wr0ng-horse-battery"
    witness.secrets.add(wrong)
    source = profiles.source(explicit(profiles, "orders", grant="password", **PASSWORD) | {"password": wrong})
    mark = server.mark()
    for _ in range(3):
        assert witness.refused(qauth.InvalidGrantError, source.token).server_error == "invalid_grant"
    assert statuses(server, mark) == [400]


def test_refresh_tokens_renew_the_token_each_time(server: Doorkeeper, profiles: Profiles, witness: Witness) -> None:
    profile = explicit(profiles, "orders", grant="password", **PASSWORD)
    engine = profiles.engine({"p": profile}, testing={"clock": "manual"})
    source = engine.source("p")
    mark = server.mark()
    tokens = [witness.token(source).access_token]
    for _ in range(4):
        engine.advance(275)
        tokens.append(witness.token(source).access_token)
        # A refresh token dies only once its successor's access token is used.
        assert source.request("GET", WHOAMI).status == 200
    # A login would give the same token again as long as it is fresh.
    assert len(set(tokens)) == 5
    assert statuses(server, mark) == [200] * 5
    headers = {"Authorization": f"Bearer {tokens[0]}"}
    assert fetch(server.issuer + WHOAMI, server.ssl_context(), headers=headers)[0] == 401


def test_a_revoked_token_is_not_active_any_more(profiles: Profiles, witness: Witness) -> None:
    source = profiles.source(explicit(profiles, "orders", scope="public"))
    given = {"token": witness.token(source).access_token}
    assert source.call("introspect", given)["active"] is True
    source.call("revoke", given)
    assert source.call("introspect", given)["active"] is False


# A person signs in: the command line


def test_a_person_signs_in_by_code_and_every_process_has_tokens_until_the_logout(
    server: Doorkeeper, profiles: Profiles, command: Command
) -> None:
    kept = command.configure(explicit(profiles, "app", grant="authorization_code", scope="public orders"))
    done = command.login_by_code({})
    assert done.returncode == 0, done.stderr
    seen = [kept.read_text().strip()]
    for _ in range(3):
        done = command.run("request", "p", WHOAMI, "--fail")
        assert done.returncode == 0, done.stderr
        assert '"app"' in done.stdout
        seen.append(kept.read_text().strip())
    command.witness.secrets.update(seen)
    assert len(set(seen)) == 4
    token = command.token()
    last = kept.read_text().strip()
    command.witness.secrets.add(last)
    done = command.run("logout", "p")
    assert done.returncode == 0, done.stderr
    assert not kept.exists()
    form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": last}
    status, answer, _ = fetch(profiles.about["token_endpoint"], server.ssl_context(), form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    # With the refresh token goes all that came of it.
    assert fetch(server.issuer + WHOAMI, server.ssl_context(), headers={"Authorization": f"Bearer {token}"})[0] == 401
    assert command.run("token", "p").returncode == 6


def test_no_secret_and_no_token_was_said(witness: Witness) -> None:
    witness.check()
