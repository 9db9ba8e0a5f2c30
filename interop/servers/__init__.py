"""Real authorization servers on loopback for the interop tests: `with Keycloak() as server: server.issuer`."""

from .authlib import Authlib
from .base import Server, running
from .doorkeeper import Doorkeeper
from .keycloak import Keycloak
from .oidc_provider import OidcProvider

ALL: tuple[type[Server], ...] = (Keycloak, OidcProvider, Authlib, Doorkeeper)

__all__ = ["ALL", "Authlib", "Doorkeeper", "Keycloak", "OidcProvider", "Server", "running"]
