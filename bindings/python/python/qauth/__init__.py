"""One token engine for every language.

    import qauth

    source = qauth.source("quantaprice")                  # credentials from the environment
    source.header()                                       # "Bearer eyJ…", valid now
    requests.get(url, auth=source.requests_auth())
    token = await source.token_async()

A source obtains its token once, caches it, renews it before it ends, and lends it to every thread and task that asks.
"""

from __future__ import annotations

from . import _asyncio as _asyncio
from ._errors import (
    AccessDeniedError,
    CancelledError,
    ClosedError,
    ConfigError,
    Error,
    InternalError,
    InvalidArgumentError,
    InvalidClientError,
    InvalidGrantError,
    NetworkError,
    ProtocolError,
    RateLimitedError,
    ReauthenticationRequiredError,
    ServerError,
    SessionConflictError,
    StoreError,
    StoreUnavailableError,
    TimeoutError,
    TlsError,
    UnsupportedError,
)
from ._headers import RequestHeaders, ResponseHeaders
from ._qauth import Engine, Response, Token, TokenSource, __version__

TYPE_CHECKING = False
# Importing `typing` takes longer than everything else here.
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AccessDeniedError",
    "CancelledError",
    "ClosedError",
    "ConfigError",
    "Engine",
    "Error",
    "InternalError",
    "InvalidArgumentError",
    "InvalidClientError",
    "InvalidGrantError",
    "NetworkError",
    "ProtocolError",
    "RateLimitedError",
    "ReauthenticationRequiredError",
    "RequestHeaders",
    "Response",
    "ResponseHeaders",
    "ServerError",
    "SessionConflictError",
    "StoreError",
    "StoreUnavailableError",
    "TimeoutError",
    "TlsError",
    "Token",
    "TokenSource",
    "UnsupportedError",
    "__version__",
    "source",
]


def source(name: str, /, **overrides: Any) -> TokenSource:
    """The source of a profile, or of a provider whose credentials are in the environment, on the process's own engine.

    Keywords stand over the profile's keys: ``qauth.source("quiqup", environment="staging")``.
    """
    return Engine.shared().source(name, **overrides)
