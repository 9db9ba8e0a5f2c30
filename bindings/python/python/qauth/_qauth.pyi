from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, final

from requests.auth import AuthBase

from ._headers import RequestHeaders, ResponseHeaders

_Seconds: TypeAlias = float | timedelta
_Pairs: TypeAlias = Mapping[str, str | float] | Iterable[tuple[str, str | float]]
_Given: TypeAlias = str | tuple[str, _Seconds | None] | Mapping[str, Any]
_TokenFunction: TypeAlias = Callable[[], _Given | Awaitable[_Given]] | Callable[[TokenCall], _Given | Awaitable[_Given]]

__all__ = [
    "CODES",
    "Call",
    "Engine",
    "Event",
    "Pending",
    "Queue",
    "Reply",
    "Response",
    "Token",
    "TokenCall",
    "TokenSource",
    "__version__",
    "cli",
    "log_events",
]

__version__: Final[str]
CODES: Final[list[str]]

@final
class Engine:
    """One per process as a rule: owns the connections, the store and the sources.

    ``Engine(config)`` takes the structure of qauth.toml as a mapping; ``Engine()`` has providers alone, whose
    credentials come from the environment. It starts nothing before the first token is obtained. As a context manager it
    closes at the end.
    """

    def __new__(cls, config: Mapping[str, Any] | None = None, /) -> Engine: ...
    @staticmethod
    def discover() -> Engine:
        """The configuration that is found: QAUTH_CONFIG, then the XDG folder; none is fine."""
    @staticmethod
    def from_file(path: str | PathLike[str], /) -> Engine:
        """A qauth.toml, or JSON of the same structure where the name ends in ".json"."""
    @staticmethod
    def from_toml(text: str, /) -> Engine:
        """The text of a qauth.toml."""
    @staticmethod
    def from_json(text: str, /) -> Engine:
        """The same structure as JSON text."""
    @staticmethod
    def shared() -> Engine:
        """The process's own engine, made by ``discover`` at its first use."""
    def source(self, name: str, /, **overrides: Any) -> TokenSource:
        """The source of a profile, or of a provider whose credentials are in the environment. Sends nothing."""
    def custom_source(self, name: str, function: _TokenFunction, /, **options: Any) -> TokenSource:
        """A source whose tokens come from ``function``: a profile with grant "custom", or one made of the keywords.

        The function takes nothing, or a TokenCall, and gives the access token as a str, a tuple of it and its lifetime
        in seconds, or a mapping as in RFC 6749 5.1. It is called where somebody waits for the token, one call for
        all who wait (narrowed sources have calls of their own), and its exception is an error for them all. Calls that
        block run it in their thread; for asyncio it runs in the loop's executor, or as a task where it is a coroutine
        function.
        """
    def remove(self, name: str, /) -> bool:
        """Forgets a profile's source: its handles raise ClosedError. Returns whether there was one."""
    def profiles(self) -> list[str]:
        """The names of the profiles there are now.

        Those of the configuration, then those that have come into profiles.d since, which is read at every call.
        """
    def advance(self, seconds: _Seconds, /) -> None:
        """Moves a manual clock (testing.clock = "manual") forward, and returns when the renewals due have ended."""
    def suspend(self, seconds: _Seconds, /) -> None:
        """Lets a machine with a manual clock sleep: the monotonic clock stands still; what came due runs afterwards."""
    def step_wall_clock(self, seconds: _Seconds, /) -> None:
        """Sets the wall clock of a manual clock forward, or back where the number is negative; no time passes."""
    def metrics(self) -> dict[str, Any]:
        """Counters and durations as they are now, by profile.

        How often each event happened, failures by code, requests, renewals and how long they took, when the last token
        ends, how far off the server's clock is. Beside them, how many sources there are, and how many nobody used and
        were let go of, and whether the store cannot be used as it should: ``{"sources": 1, "evicted": 0,
        "store_degraded": False, "profiles": {"pricing": {...}}}``.
        """
    def prometheus(self) -> str:
        """The same in the text format of Prometheus (OpenMetrics 1.0).

        Serve it as ``application/openmetrics-text; version=1.0.0; charset=utf-8``.
        """
    def records(self) -> list[dict[str, Any]]:
        """What the store holds, of every process that shares it; of this one alone where it is of kind memory.

        A dict for each record: name, profile, provider, state ("unreadable", "conflict", "refused", "paused",
        "maybe_spent", "valid", "renewable", "expired" or "empty": the first that is true), generation, obtained_at,
        expires_at, has_refresh_token, refresh_expires_at, failure, failure_until, written_at, written_by, error. Times
        are Unix seconds; what is not there is None. No token and no secret.
        """
    def clear(self, name: str, /) -> bool:
        """Forgets what the store holds of a profile, for every process that shares it.

        The next call obtains a token anew. Waits for a renewal under way. No server is told: tokens stay good until
        their own end, and other processes serve theirs until they renew. A refresh token that stood in the store alone
        is lost: a person who signed in must do so again. Returns whether there was anything to forget.
        """
    def close(self) -> None:
        """Ends the engine: calls that wait and all later ones raise ClosedError. Takes at most 1 s, rarely 2."""
    def __enter__(self) -> Engine: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def __aenter__(self) -> Awaitable[Engine]: ...
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Awaitable[None]: ...

@final
class TokenSource:
    """The live object of one profile: a valid token whenever it is asked for one, or a clear error.

    Any thread, any number at once. A call blocks only when it must, without the interpreter lock, at most for its
    ``timeout`` (seconds or a timedelta; the profile's own unless given, 30 s by default; 0: cached tokens only).
    """

    @property
    def profile(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def api_base_url(self) -> str | None:
        """The API's base address; None for a profile without one."""
    @property
    def header_name(self) -> str:
        """The name of the header that carries the token, "Authorization" as a rule."""
    def token(self, *, timeout: _Seconds | None = None, min_remaining: _Seconds | None = None) -> Token:
        """A valid token, cached or new. ``min_remaining``: for how many seconds it must still be good."""
    def token_async(
        self, *, timeout: _Seconds | None = None, min_remaining: _Seconds | None = None
    ) -> Coroutine[Any, Any, Token]:
        """The same for asyncio: one descriptor per loop, no thread per waiter."""
    def header(self) -> str:
        """The value of the one header that carries the token, for instance "Bearer eyJ…".

        Raises UnsupportedError where a request needs more than one constant header: ``headers`` is for all.
        """
    def header_async(self) -> Coroutine[Any, Any, str]: ...
    def headers(
        self, method: str, url: str, *, timeout: _Seconds | None = None, min_remaining: _Seconds | None = None
    ) -> RequestHeaders:
        """Everything that a request to ``url`` (a path below the API address, or a URL on its hosts) must carry."""
    def headers_async(
        self, method: str, url: str, *, timeout: _Seconds | None = None, min_remaining: _Seconds | None = None
    ) -> Coroutine[Any, Any, RequestHeaders]: ...
    def request(
        self,
        method: str,
        target: str,
        *,
        query: _Pairs | None = None,
        headers: _Pairs | None = None,
        body: bytes | str | None = None,
        timeout: _Seconds | None = None,
    ) -> Response:
        """Calls the API with the token attached. Every status is a response.

        A 401 leads to one new token and one more try; a redirect is returned, never followed.
        """
    def request_async(
        self,
        method: str,
        target: str,
        *,
        query: _Pairs | None = None,
        headers: _Pairs | None = None,
        body: bytes | str | None = None,
        timeout: _Seconds | None = None,
    ) -> Coroutine[Any, Any, Response]: ...
    def call(
        self,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout: _Seconds | None = None,
        save_as: str | None = None,
    ) -> Any:
        """Runs an operation that the provider file declares, and gives its parsed result; refusals are errors too.

        With ``save_as`` an operation that makes a new client saves it as a profile of this name, in ``profiles.d``
        beside the configuration, before it returns; ``engine.source(name)`` works at once. An error that comes after
        the vendor's answer has it as ``answer``."""
    def call_async(
        self,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout: _Seconds | None = None,
        save_as: str | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def invalidate(self, token: Token, /) -> bool:
        """The API rejected this token. Acts only if it is still the current one. Returns whether it acted."""
    def reset(self) -> None:
        """Forgets remembered failures and pauses: the next call tries again at once."""
    def update(self, **changes: Any) -> None:
        """Replaces keys of the profile, for instance a secret. Tokens of the old ones are not served any more."""
    def scoped(
        self, *, scope: str | None = None, audience: str | None = None, resource: str | None = None
    ) -> TokenSource:
        """A source of the same profile whose tokens are narrowed."""
    def requests_auth(self) -> AuthBase:
        """For requests: ``requests.get(url, auth=source.requests_auth())``."""
    def __copy__(self) -> TokenSource: ...
    def __deepcopy__(self, _memo: Any, /) -> TokenSource: ...
    def _answered(
        self,
        url: str,
        generation: int,
        status: int,
        www_authenticate: str | None = None,
        dpop_nonce: str | None = None,
        /,
    ) -> Literal["nonce", "token"] | None: ...
    def _allows(self, url: str, /) -> bool: ...
    def _empty(self) -> None: ...

@final
class Token:
    """A valid access token, as a value that does not change. Neither ``repr`` nor ``str`` shows it."""

    @property
    def access_token(self) -> str:
        """The access token itself (RFC 6749 1.4). Keep it out of logs."""
    @property
    def token_type(self) -> str:
        """How the API wants it, "Bearer" as a rule (RFC 6749 7.1)."""
    @property
    def expires_at(self) -> datetime | None:
        """When it ends, in UTC; None for a token without an end."""
    @property
    def expires_in(self) -> float | None:
        """How many seconds it is still valid: 0.0 once it has ended, None for a token without an end."""
    @property
    def scope(self) -> str | None:
        """The scopes the server granted, if it said so (RFC 6749 3.3)."""
    @property
    def extras(self) -> dict[str, Any]:
        """Further members of the answer that the provider file keeps."""
    @property
    def generation(self) -> int:
        """Counts the tokens of its source upwards."""
    @property
    def header_value(self) -> str:
        """The value for the header that carries it, for instance "Bearer eyJ…"."""
    def __copy__(self) -> Token: ...
    def __deepcopy__(self, _memo: Any, /) -> Token: ...

@final
class TokenCall:
    """What a token function is asked for."""

    @property
    def profile(self) -> str: ...
    @property
    def scope(self) -> str | None:
        """What the token is to be narrowed to, if anything; the same for the next two."""
    @property
    def audience(self) -> str | None: ...
    @property
    def resource(self) -> str | None: ...

@final
class Response:
    """What the API answered, whatever the status."""

    @property
    def status(self) -> int: ...
    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
    @property
    def headers(self) -> ResponseHeaders: ...
    @property
    def body(self) -> bytes:
        """The bytes, decompressed."""
    def text(self) -> str:
        """The body as UTF-8; what is none becomes U+FFFD."""
    def json(self) -> Any:
        """The body as JSON; raises ValueError where it is none."""
    def raise_for_status(self) -> None:
        """Raises the qauth.Error that a status of 400 or more stands for."""

@final
class Queue:
    def __new__(cls) -> Queue: ...
    def fileno(self) -> int: ...
    def run(self) -> None: ...

@final
class Pending:
    def cancel(self) -> None: ...

@final
class Call:
    def begin(self, queue: Queue, future: Any) -> Pending: ...

@final
class Reply:
    def give(self, given: Any, /) -> None: ...
    def fail(self, error: BaseException, /) -> None: ...
    def leave(self, error: BaseException, /) -> None: ...
    def give_back(self) -> None: ...

@final
class Event:
    @property
    def level(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def code(self) -> str | None: ...
    @property
    def at(self) -> float: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def lost(self) -> int: ...

def log_events() -> None: ...
def cli(argv: Sequence[str]) -> int: ...
