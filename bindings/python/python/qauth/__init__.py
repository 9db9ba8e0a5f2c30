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
from . import _custom as _custom
from . import _events as _events
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
from ._qauth import Engine, Response, Token, TokenCall, TokenSource, __version__

TYPE_CHECKING = False
# Importing `typing` takes longer than everything else here.
if TYPE_CHECKING:
    from typing import Any

    from ._qauth import _TokenFunction

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
    "TokenCall",
    "TokenSource",
    "UnsupportedError",
    "__version__",
    "custom_source",
    "source",
]


def source(name: str, /, **overrides: Any) -> TokenSource:
    """The source of a profile, or of a provider whose credentials are in the environment, on the process's own engine.

    Keywords stand over the profile's keys: ``qauth.source("quiqup", environment="staging")``.
    """
    return Engine.shared().source(name, **overrides)


def custom_source(name: str, function: _TokenFunction, /, **options: Any) -> TokenSource:
    """A source whose tokens come from a function of your own, on the process's own engine.

        def token(call):                                      # or async def
            answer = vault.read(call.profile)
            return answer["token"], answer["ttl"]             # or the token alone, or a mapping as in RFC 6749 5.1

        source = qauth.custom_source("vault", token, api_base_url="https://api.example.com")

    The function may also take nothing. It is called where somebody waits for the token, one call for all who wait
    (narrowed sources have calls of their own); whatever it raises is an error for them all. Calls that block run it in
    their thread. For asyncio it runs in the loop's executor, or as a task where it is a coroutine function.
    """
    return Engine.shared().custom_source(name, function, **options)
