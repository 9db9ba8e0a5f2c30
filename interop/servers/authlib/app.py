"""Authlib's server on Flask, everything in memory: `python app.py config.json` (see ../authlib.py)."""

import hmac
import json
import sys
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask, Response, jsonify, request
from joserfc.jwk import KeySet

with open(sys.argv[1]) as file:
    CONFIG = json.load(file)
ISSUER = CONFIG["issuer"]
PATH = "/oauth"
ALL_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
LIFETIME_S = 300


class Client(ClientMixin):
    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.client_id = known["client_id"]

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        allowed = self.known["scope"].split()
        return " ".join(part for part in (scope or "").split() if part in allowed)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return False

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(self.known.get("client_secret", "").encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.known["auth_method"]

    def check_response_type(self, response_type: str) -> bool:
        return False

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.known["grant_types"]


class Token(TokenMixin):
    def __init__(self, answer: dict[str, Any], client: Client, user: str | None) -> None:
        self.access_token = answer["access_token"]
        self.refresh_token = answer.get("refresh_token")
        self.scope = answer.get("scope", "")
        self.client = client
        self.user = user
        self.issued_at = int(time.time())
        self.expires_in = answer["expires_in"]
        self.revoked = False

    def check_client(self, client: Client) -> bool:
        return client.client_id == self.client.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_expires_in(self) -> int:
        return self.expires_in

    def is_expired(self) -> bool:
        return self.issued_at + self.expires_in < time.time()

    def is_revoked(self) -> bool:
        return self.revoked

    def get_user(self) -> str | None:
        return self.user

    def get_client(self) -> Client:
        return self.client


CLIENTS = {known["client_id"]: Client(known) for known in CONFIG["clients"]}
TOKENS: list[Token] = []
SEEN_JTI: set[str] = set()


def find_token(value: str, kinds: tuple[str, ...] = ("access_token", "refresh_token")) -> Token | None:
    return next((token for token in TOKENS if value in [getattr(token, kind) for kind in kinds]), None)


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS

    def authenticate_user(self, username: str, password: str) -> str | None:
        return username if CONFIG["users"].get(username) == password else None


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        token = find_token(refresh_token, ("refresh_token",))
        return token if token and not token.revoked else None

    def authenticate_user(self, refresh_token: Token) -> str | None:
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: Token) -> None:
        refresh_token.revoked = True


class JwtBearer(JWTBearerGrant):
    def get_audiences(self) -> list[str]:
        return [ISSUER, f"{ISSUER}/token"]

    def resolve_issuer_client(self, issuer: str) -> Client | None:
        return CLIENTS.get(issuer)

    def resolve_client_public_key(self, client: Client) -> KeySet:
        return KeySet.import_key_set(client.known["jwks"])

    def authenticate_user(self, subject: str) -> str | None:
        return subject if subject in CONFIG["users"] else None

    def has_granted_permission(self, client: Client, user: str) -> bool:
        return True


class PrivateKeyJwt(JWTBearerClientAssertion):
    CLIENT_AUTH_METHOD = "private_key_jwt"

    def get_audiences(self) -> list[str]:
        return [ISSUER, f"{ISSUER}/token"]

    def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
        fresh = jti not in SEEN_JTI
        SEEN_JTI.add(jti)
        return fresh

    def resolve_client_public_key(self, client: Client) -> KeySet:
        return KeySet.import_key_set(client.known["jwks"])


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = ALL_METHODS[:3]

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return find_token(token_string)

    def check_permission(self, token: Token, client: Client, request: object) -> bool:
        return True

    def introspect_token(self, token: Token) -> dict[str, Any]:
        return {
            "active": True,
            "client_id": token.client.client_id,
            "token_type": "Bearer",
            "scope": token.scope,
            "sub": token.user or token.client.client_id,
            "iss": ISSUER,
            "iat": token.issued_at,
            "exp": token.issued_at + token.expires_in,
        }


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = ALL_METHODS

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return find_token(token_string)

    def revoke_token(self, token: Token, request: object) -> None:
        token.revoked = True


class Validator(BearerTokenValidator):
    def authenticate_token(self, token_string: str) -> Token | None:
        return find_token(token_string, ("access_token",))


app = Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
GRANTS = (Password, ClientCredentials, Refresh, JwtBearer)
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {grant.GRANT_TYPE: LIFETIME_S for grant in GRANTS}
server = AuthorizationServer(
    app,
    query_client=CLIENTS.get,
    save_token=lambda answer, request: TOKENS.append(Token(answer, request.client, request.user)),
)
for grant in GRANTS:
    server.register_grant(grant)
for endpoint in (Introspection, Revocation):
    server.register_endpoint(endpoint)
server.register_client_auth_method(PrivateKeyJwt.CLIENT_AUTH_METHOD, PrivateKeyJwt())
protected = ResourceProtector()
protected.register_token_validator(Validator())


@app.post(f"{PATH}/token")
def token_endpoint():
    return server.create_token_response()


@app.post(f"{PATH}/introspect")
def introspection_endpoint():
    return server.create_endpoint_response(Introspection.ENDPOINT_NAME)


@app.post(f"{PATH}/revoke")
def revocation_endpoint():
    return server.create_endpoint_response(Revocation.ENDPOINT_NAME)


# The issuer has a path, so the well-known part goes in front of it (RFC 8414 section 3.1).
@app.get(f"/.well-known/oauth-authorization-server{PATH}")
def metadata():
    return jsonify(
        issuer=ISSUER,
        token_endpoint=f"{ISSUER}/token",
        introspection_endpoint=f"{ISSUER}/introspect",
        revocation_endpoint=f"{ISSUER}/revoke",
        response_types_supported=[],
        grant_types_supported=[grant.GRANT_TYPE for grant in GRANTS],
        token_endpoint_auth_methods_supported=ALL_METHODS,
        token_endpoint_auth_signing_alg_values_supported=["RS256", "ES256"],
    )


@app.after_request
def note(response: Response) -> Response:
    print("access:", request.method, request.path, response.status_code, flush=True)
    return response


@app.get("/api/whoami")
@protected()
def whoami():
    return jsonify(client_id=current_token.client.client_id, scope=current_token.scope, sub=current_token.user)


if __name__ == "__main__":
    certificate = (CONFIG["certificate_file"], CONFIG["key_file"])
    app.run("127.0.0.1", CONFIG["port"], ssl_context=certificate, threaded=True)
