"""
What logins need: credentials that are never shown, nonces that never repeat, signatures, and one REST call.

Called on a connection's reader thread, with no lock held. Nothing here is in an error, a log or a repr that must not be seen.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from collections.abc import Mapping
from typing import Any, Callable, Union

import attrs

from exchange_ws.core.dialect import parse
from exchange_ws.errors import ConnectFailed, UsageError

__all__ = [
    "Answer",
    "Credentials",
    "Token",
    "ask_token",
    "checked_token",
    "next_nonce",
    "post",
    "redacted",
    "secrets_of",
    "sign",
]

#: A token, or what gives a fresh one each time it is called.
Token = Union[str, Callable[[], str]]

ANSWER_LIMIT = 2**20  # bytes of a REST answer that are read: tokens are short

_nonce_lock = threading.Lock()  # guards _last_nonce; a leaf
_last_nonce = 0


@attrs.frozen
class Credentials:
    """An API key and its secret."""

    api_key: str = attrs.field(repr=False)
    api_secret: str = attrs.field(repr=False)

    @classmethod
    def of(cls, api_key: Any, api_secret: Any) -> Credentials | None:
        """Both, or neither: None. `UsageError` for anything else, which shows no value."""
        for name, value in (("api_key", api_key), ("api_secret", api_secret)):
            if value is None or (isinstance(value, str) and value and value.isascii() and value.isprintable()):
                continue
            raise UsageError(f"{name}: takes the text that the exchange gave, or None")
        if api_key is None and api_secret is None:
            return None
        if api_key is None or api_secret is None:
            raise UsageError(f"{'api_key' if api_key is None else 'api_secret'}: is missing beside the other one")
        return cls(api_key, api_secret)


def checked_token(token: Any) -> Token | None:
    """*token* if it is text, a function or None; `UsageError`, which does not show it, if not."""
    if token is None or callable(token) or (isinstance(token, str) and token):
        return token  # type: ignore[no-any-return]
    raise UsageError("token: takes a token, a function without arguments that returns a fresh one, or None")


def ask_token(token: Token) -> str:
    """The token to log in with now; what a function raises comes through."""
    found = token() if callable(token) else token
    if not isinstance(found, str) or not found:
        raise UsageError(f"token: the function returned {type(found).__name__}, and should return a token")
    return found


def next_nonce(now_ms: int) -> int:
    """*now_ms* (Unix milliseconds), or one more than the last: no two are the same in a process, and each is larger."""
    global _last_nonce
    with _nonce_lock:
        _last_nonce = max(now_ms, _last_nonce + 1)
        return _last_nonce


def sign(secret: str, payload: bytes, digest: str) -> str:
    """HMAC of *payload* in hexadecimal; *digest* is "sha256" or "sha512"."""
    return hmac.new(secret.encode(), payload, getattr(hashlib, digest)).hexdigest()


def secrets_of(credentials: Credentials | None, token: Token | None = None) -> tuple[str, ...]:
    """What of these is not to be recorded; what a function gives is known when it has given it."""
    given = () if credentials is None else (credentials.api_key, credentials.api_secret)
    return (*given, token) if isinstance(token, str) else given


def redacted(text: str, *secrets: str) -> str:
    """*text* without any of *secrets*."""
    for secret in secrets:
        text = text.replace(secret, "(hidden)")
    return text


@attrs.frozen
class Answer:
    """A REST answer: HTTP status, and its JSON, None if it is none. May hold a token."""

    status: int
    body: Any = attrs.field(repr=False)
    retry_after_s: float | None = None


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    proxy: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """
    POST *body*, without following redirects (the headers are for nobody else), and read the answer.

    Parameters
    ----------
    timeout
        Seconds to connect, and again to answer.
    proxy, context
        As for the WebSocket connection; None: the environment's, and the system's certificates.

    Raises
    ------
    ConnectFailed
        No answer; without a cause, since those of the library hold the request.
    """
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, ssl_context=context)

    with requests.Session() as session:
        session.auth = lambda request: request  # else a ~/.netrc would add its own
        if context is not None:
            session.mount("https://", Adapter())
        proxies = None if proxy is None else {"http": proxy, "https": proxy}
        try:
            with session.post(
                url,
                data=body,
                headers=dict(headers),
                timeout=(timeout, timeout),
                proxies=proxies,
                allow_redirects=False,
                stream=True,
            ) as response:
                said = b""
                for part in response.iter_content(2**14):
                    said += part
                    if len(said) > ANSWER_LIMIT:
                        break
                status, wait = response.status_code, response.headers.get("Retry-After", "")
        except (requests.RequestException, OSError, ValueError) as error:
            trouble = type(error).__name__
        else:
            try:
                value = parse(said)
            except ValueError:
                value = None
            return Answer(status, value, float(wait) if wait.isdecimal() else None)
    raise ConnectFailed(f"POST {url}: {trouble}")
