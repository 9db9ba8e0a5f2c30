"""A browser without a window: follows redirects with cookies and fills in the forms of sign-in and consent."""

from __future__ import annotations

import html.parser
import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any


class _Forms(html.parser.HTMLParser):
    """The first form that is sent by POST: its action and its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None and values.get("method", "").lower() == "post":
            self.action, self._open = values.get("action", ""), True
        elif tag == "input" and self._open and values.get("name"):
            # Of several buttons a person presses the first: yes.
            if values.get("type") == "submit" and values["name"] == "cancel":
                return
            self.fields.setdefault(values["name"], values.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def visit(url: str, context: ssl.SSLContext, answers: Mapping[str, str], stop_at: str = "") -> str:
    """Goes to `url` and on, up to 12 pages, until an address begins with `stop_at` (not fetched) or no form is left.

    `answers` are written into fields of their name. Returns the address where it ended.
    """
    jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(secure_protocols=("https", "http")))
    https = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(https, _NoRedirect, urllib.request.HTTPCookieProcessor(jar))
    data: bytes | None = None
    for _ in range(12):
        try:
            response = opener.open(url, data, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            location = response.headers["Location"]
            page = "" if location else response.read().decode(errors="replace")
        if location:
            url, data = urllib.parse.urljoin(url, location), None
            if stop_at and url.startswith(stop_at):
                return url
            continue
        form = _Forms(page)
        if form.action is None or response.status >= 400:
            return url
        url = urllib.parse.urljoin(url, form.action)
        fields = form.fields | {name: value for name, value in answers.items() if name in form.fields}
        data = urllib.parse.urlencode(fields).encode()
    raise RuntimeError(f"still not there after 12 pages: {url}")
