"""The adapter for requests: ``requests.get(url, auth=source.requests_auth())``."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.sessions import SessionRedirectMixin
from requests.utils import requote_uri, rewind_body

from ._qauth import TokenSource


class QauthAuth(AuthBase):
    """Attaches a source's headers to a request; answers a 401 with one new token and one more try, and a demand for a
    DPoP nonce (RFC 9449 9) with a proof that has it.

    May be set on a session and used by any number of threads. Hosts that are not the profile's are refused before
    anything is sent.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.register_hook("response", _Attached(self._source, request).on_response)
        return request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QauthAuth) and self._source is other._source

    def __hash__(self) -> int:
        return hash((QauthAuth, id(self._source)))

    def __repr__(self) -> str:
        return f"<requests auth of {self._source!r}>"


class _Attached:
    """The headers of one request, along its retry and its redirects."""

    def __init__(self, source: TokenSource, request: PreparedRequest) -> None:
        self._source = source
        self._may_retry = True
        self._reasons: set[str] = set()
        self._attach(request, request.method, request.url)

    def _attach(self, request: PreparedRequest, method: str | None, url: str | None) -> None:
        self._headers = self._source.headers(str(method), str(url))
        request.headers.update(self._headers)

    def on_response(self, response: Response, **options: Any) -> Response:
        """requests calls this with each response, before it follows a redirect."""
        while self._may_retry and self._has_more_to_send(response) and _rewound(response.request):
            response = self._again(response, **options)
        if response.is_redirect:
            self._prepare_redirect(response.request, _target(response), response)
        return response

    def _prepare_redirect(self, request: PreparedRequest, target: str, response: Response) -> None:
        """The next request is a copy of this one, and of itself requests drops Authorization alone."""
        if not self._source._allows(target):
            # Whoever sends us back from there does not decide where the token goes.
            self._may_retry = False
            for name in self._headers:
                request.headers.pop(name, None)
        elif self._may_retry and "DPoP" in self._headers:
            # A proof is good for one request.
            following = request.copy()
            SessionRedirectMixin().rebuild_method(following, response)
            self._attach(request, following.method, target)

    def _has_more_to_send(self, response: Response) -> bool:
        """Whether to send the request once more with fresh headers: for each reason once."""
        request, told = response.request, response.headers
        reason: str | None = None
        if all(request.headers.get(name) == value for name, value in self._headers.items()):
            reason = self._source._answered(
                str(request.url),
                self._headers.generation,
                response.status_code,
                told.get("WWW-Authenticate"),
                told.get("DPoP-Nonce"),
            )
        elif response.status_code == 401 and self._source._allows(str(request.url)):
            # requests drops Authorization on the way to another host, which may be one of the profile's own.
            reason = "token"
        if reason is None or reason in self._reasons:
            return False
        self._reasons.add(reason)
        return True

    def _again(self, response: Response, **options: Any) -> Response:
        request = response.request
        # The connection goes back to its pool when the body has been read.
        _ = response.content
        response.close()
        self._attach(request, request.method, request.url)
        again: Response = response.connection.send(request, **options)
        again.history.append(response)
        return again


def _target(redirect: Response) -> str:
    """Where requests goes next. It quotes before it looks for the host, so "host\\@other" is at `other`."""
    return urljoin(str(redirect.url), requote_uri(redirect.headers["location"]))


def _rewound(request: PreparedRequest) -> bool:
    """Whether the body can be sent once more; where it is a file, it is at its beginning again."""
    if request.body is None or isinstance(request.body, (bytes, str)):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
