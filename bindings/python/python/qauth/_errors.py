"""The exceptions: one class per code of the table that all languages share."""

from __future__ import annotations

import builtins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class Error(Exception):
    """A failed call. ``str(error)`` is the whole text, for people and logs: it holds no secret and no token."""

    code: ClassVar[str] = "internal"
    """The stable word of this class, the same in every language."""

    message: str
    """What happened and what to do, without profile and server detail."""
    profile: str | None
    """The profile whose token was asked for."""
    provider: str | None
    """The provider of that profile."""
    status: int | None
    """The HTTP status of the server's answer."""
    server_error: str | None
    """The server's ``error`` (RFC 6749 5.2)."""
    server_error_description: str | None
    """The server's ``error_description``, secrets masked."""
    retryable: bool
    """Whether the same call may succeed later with nothing changed."""
    retry_after: float | None
    """How many seconds to wait before the next try can help."""

    def __init__(
        self,
        text: str,
        *,
        message: str | None = None,
        profile: str | None = None,
        provider: str | None = None,
        status: int | None = None,
        server_error: str | None = None,
        server_error_description: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        answer: Any = None,
    ) -> None:
        super().__init__(text)
        self.message = text if message is None else message
        self.profile = profile
        self.provider = provider
        self.status = status
        self.server_error = server_error
        self.server_error_description = server_error_description
        self.retryable = retryable
        self.retry_after = retry_after
        if answer is not None:
            # Not where loggers and debuggers look.
            self._answer = lambda: answer

    @property
    def answer(self) -> Any:
        """What the vendor answered, where it holds a secret that is shown this once only and the call could not finish
        with it: the profile could not be saved, or the answer not be read (then it is its text). Else None. It is the
        only copy: store it, and keep it out of logs. It stays in this process: a pickle leaves it out."""
        held = self.__dict__.get("_answer")
        return None if held is None else held()

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send their exceptions home.
        return type(self), self.args, {key: value for key, value in self.__dict__.items() if key != "_answer"}


class InvalidArgumentError(Error, ValueError):
    """An argument of this call is wrong; nothing was sent."""

    code = "invalid_argument"


class ConfigError(Error):
    """The configuration is wrong, or the vendor says that the request as configured can never work."""

    code = "config"


class InvalidClientError(Error):
    """The server refused the client's own credentials."""

    code = "invalid_client"


class InvalidGrantError(Error):
    """The server refused the user's login, assertion or refresh token."""

    code = "invalid_grant"


class ReauthenticationRequiredError(Error):
    """No token can be had without a person."""

    code = "reauthentication_required"


class AccessDeniedError(Error):
    """The API or server understood and refused."""

    code = "access_denied"


class RateLimitedError(Error):
    """Too many requests; ``retry_after`` says when to come back."""

    code = "rate_limited"


class ServerError(Error):
    """The server failed."""

    code = "server_error"


class NetworkError(Error, ConnectionError):
    """The server could not be reached or the connection broke."""

    code = "network"


class TimeoutError(Error, builtins.TimeoutError):
    """The deadline passed first. A builtin TimeoutError too."""

    code = "timeout"


class TlsError(Error):
    """The TLS handshake failed; certificates are always verified."""

    code = "tls"


class ProtocolError(Error):
    """The answer makes no sense."""

    code = "protocol"


class StoreError(Error):
    """A record in the store could not be read or written."""

    code = "store"


class StoreUnavailableError(Error):
    """The store cannot be reached and this profile must not renew without it."""

    code = "store_unavailable"


class SessionConflictError(Error):
    """Another party keeps taking over this account's only session."""

    code = "session_conflict"


class UnsupportedError(Error):
    """This provider or profile cannot do what was asked."""

    code = "unsupported"


class CancelledError(Error):
    """The caller cancelled the call."""

    code = "cancelled"


class ClosedError(Error):
    """The engine or source was closed."""

    code = "closed"


class InternalError(Error):
    """A fault in qauth itself; please report it."""

    code = "internal"


_CLASSES = {error.code: error for error in Error.__subclasses__()}


def of_code(code: str, text: str, **fields: Any) -> Error:
    """The exception for an error of the engine."""
    return _CLASSES.get(code, Error)(text, **fields)
