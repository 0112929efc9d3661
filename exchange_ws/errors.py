"""
The errors of this package: one tree under `ExchangeError`.

Errors are raised on the thread that asked, never on one of ours. All are picklable: what they tell beside the text are plain
attributes with defaults, which pickling restores.
"""

from __future__ import annotations

import queue
from typing import Any

__all__ = [
    "AuthenticationError",
    "ConnectFailed",
    "ConnectionClosed",
    "ConnectionLost",
    "ConsumerTooSlow",
    "ExchangeError",
    "InternalError",
    "LimitExceeded",
    "RateLimited",
    "RequestRejected",
    "RequestTimeout",
    "SequenceGap",
    "SubscriptionClosed",
    "SubscriptionRejected",
    "UpdateTimeout",
    "UsageError",
    "WireError",
]


class ExchangeError(Exception):
    """Base of every error that this package raises on purpose."""


class ConnectFailed(ExchangeError):
    """The connection could not be made; the cause is chained where there is one."""

    def __init__(self, message: str = "", *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        #: HTTP status with which the server refused the handshake, or None.
        self.status = status
        #: Seconds that the server asked us to wait (`Retry-After`), or None.
        self.retry_after_s = retry_after_s


class ConnectionLost(ExchangeError):
    """
    The connection was lost while a call was under way.

    `sent` is False when the request never left this process, and True when **its outcome is unknown**: an order that may have
    been placed is not an order that failed, so look it up before placing it again.
    """

    def __init__(
        self,
        message: str = "",
        *,
        sent: bool = False,
        close_code: int | None = None,
        close_reason: str | None = None,
        request: Any = None,
    ) -> None:
        super().__init__(message)
        self.sent = sent
        #: The request (secrets removed), or None where it was not one that was lost.
        self.request = request
        #: Code of the peer's close frame (RFC 6455, section 7.4), or None when there was none.
        self.close_code = close_code
        self.close_reason = close_reason


class ConnectionClosed(ExchangeError):
    """
    `close()` was called, on this thread or another; or the process was forked since.

    `sent` is True when a request was under way then: **its outcome is unknown**, as that of one that was lost.
    """

    def __init__(self, message: str = "", *, sent: bool = False, request: Any = None) -> None:
        super().__init__(message)
        self.sent = sent
        #: The request (secrets removed), or None where it was not one that was ended.
        self.request = request


class RequestTimeout(ExchangeError, TimeoutError):
    """No answer came in time. `sent` tells whether the request had left this process: **if so, its outcome is unknown**."""

    def __init__(self, message: str = "", *, sent: bool = False, request: Any = None) -> None:
        super().__init__(message)
        self.sent = sent
        #: The request (secrets removed), or None where topics were waited for.
        self.request = request


class RequestRejected(ExchangeError):
    """The exchange said no: its `code` and `message`, and the `request` that it refused (secrets removed)."""

    def __init__(
        self, text: str = "", *, code: int | str | None = None, message: str | None = None, request: Any = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.message = message
        self.request = request


class AuthenticationError(RequestRejected):
    """The exchange refused the login, or the request needs one."""


class RateLimited(RequestRejected):
    """Too many requests. `retry_after_s` is the wait in seconds that the exchange asked for, or None."""

    def __init__(
        self,
        text: str = "",
        *,
        code: int | str | None = None,
        message: str | None = None,
        request: Any = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text, code=code, message=message, request=request)
        self.retry_after_s = retry_after_s


class SubscriptionRejected(RequestRejected):
    """The exchange refused a subscription; `topic` names it, or all of them where the exchange does not tell which."""

    def __init__(
        self,
        text: str = "",
        *,
        code: int | str | None = None,
        message: str | None = None,
        request: Any = None,
        topic: str | None = None,
    ) -> None:
        super().__init__(text, code=code, message=message, request=request)
        self.topic = topic


class ConsumerTooSlow(ExchangeError):
    """A subscription that must not drop was full: `dropped` messages were not taken, the oldest waited `oldest_age_s`."""

    def __init__(self, message: str = "", *, dropped: int = 0, oldest_age_s: float = 0.0) -> None:
        super().__init__(message)
        self.dropped = dropped
        self.oldest_age_s = oldest_age_s


class UpdateTimeout(ExchangeError, queue.Empty, TimeoutError):
    """No event came in time."""


class SubscriptionClosed(ExchangeError):
    """The subscription has ended and everything that it had received was read."""


class SequenceGap(ExchangeError):
    """
    An update of an order book does not follow the one before it: something is missing.

    `expected` is the number of the last update that was applied, `previous` what the new one names as the one before it.
    """

    def __init__(self, message: str = "", *, expected: int | None = None, previous: int | None = None) -> None:
        super().__init__(message)
        self.expected = expected
        self.previous = previous


class WireError(ExchangeError):
    """
    The peer broke the protocol.

    `close_code` is the RFC 6455 code that our close frame tells the peer: 1002 protocol error, 1007 not UTF-8, 1009 too big.
    """

    def __init__(self, message: str = "", *, close_code: int = 1002) -> None:
        super().__init__(message)
        self.close_code = close_code


class UsageError(ExchangeError, ValueError):
    """The call cannot be right; nothing was sent."""


class LimitExceeded(UsageError):
    """A documented limit of the exchange would be broken: `limit` names it, `source` says where it is documented."""

    def __init__(self, message: str = "", *, limit: str | None = None, source: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.source = source


class InternalError(ExchangeError):
    """A bug of this package: please report it."""
