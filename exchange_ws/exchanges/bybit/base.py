"""What the clients of Bybit's APIs share: the login, which is the same in all of them, and how methods become topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from exchange_ws.core.auth import Credentials, redacted, secrets_of, sign
from exchange_ws.core.client import Client, Endpoint, check_url
from exchange_ws.core.dialect import dump
from exchange_ws.core.messages import LOGIN, Command
from exchange_ws.core.recording import Secrets
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import AuthenticationError, ExchangeError, UsageError

if TYPE_CHECKING:
    from exchange_ws.core.client import SubscribeOptions

__all__ = ["CLOCK_LIMIT_S", "HOST", "LOGIN_VALID_S", "TESTNET_HOST", "BybitClient", "check_request", "checked_url"]

HOST, TESTNET_HOST = "wss://stream.bybit.com", "wss://stream-testnet.bybit.com"  # [Connect]

# Seconds that a login stays valid. The exchange refuses one that has expired by its own clock, and names no maximum. The second
# of the documentation's sample is too little for a slow network; this covers a clock that is behind by almost as much.
LOGIN_VALID_S = 30.0
SKEW_S = 1.0  # clocks that differ by less are called equal: the time of the answer's way is in it
CLOCK_LIMIT_S = 3.0  # to ask for the exchange's time; whoever waits for the login waits for it too


class BybitClient(Client):
    """A client of one of Bybit's APIs. The secret signs each login and is never sent."""

    #: Refusals of a login that may be due to a wrong clock, by their codes; None: one without a code.
    _clock_codes: ClassVar[tuple[int | None, ...]]

    def __init__(
        self, endpoints: Sequence[Endpoint], api_key: str | None, api_secret: str | None, options: Mapping[str, Any]
    ) -> None:
        self._credentials = Credentials.of(api_key, api_secret)
        self._given = Secrets(secrets_of(self._credentials))
        super().__init__({endpoint.name: endpoint for endpoint in endpoints}, **options)

    # Login

    def _check_login(self, what: str) -> None:
        """`AuthenticationError` if there is nothing to log in with; *what* needs it."""
        if self._credentials is None:
            raise AuthenticationError(f"{what}, which needs a login: give the client api_key and api_secret")

    def _login(self) -> Command:
        """``{"op": "auth", "args": [key, expires in ms, signature]}``, anew for each connection [Connect, authentication]."""
        credentials = self._credentials
        assert credentials is not None, "_check_login asks for them"
        expires = self._clock.time_ns() // 1_000_000 + int(LOGIN_VALID_S * 1000)
        signature = sign(credentials.api_secret, f"GET/realtime{expires}".encode(), "sha256")
        secrets = (credentials.api_key, signature)
        return Command("auth", (credentials.api_key, expires, signature), LOGIN, secret=True, secrets=secrets)

    def _explain(self, error: AuthenticationError) -> AuthenticationError:
        """The refusal of a login, with what the clocks have to do with it, and without the key should it repeat that."""
        told = f"{error}; {self._about_clocks()}" if error.code in self._clock_codes else str(error)
        assert self._credentials is not None
        key = self._credentials.api_key
        message = None if error.message is None else redacted(error.message, key)
        return AuthenticationError(redacted(told, key), code=error.code, message=message, request=error.request)

    def _about_clocks(self) -> str:
        """Compare our clock to the exchange's."""
        begun = self._clock.time_ns()
        try:
            theirs = self._their_time()
        except (ExchangeError, LookupError, TypeError, ValueError):
            return (
                "if the clock of this machine is wrong, that may be why: the login was valid"
                f" until {LOGIN_VALID_S:.0f} s after it, and the exchange's time could not be asked"
            )
        behind = theirs - (begun + self._clock.time_ns()) / 2e9
        if abs(behind) < SKEW_S:
            return "the clocks agree, so look at the key and its secret"
        told = f"our clock is {abs(behind):.1f} s {'behind' if behind > 0 else 'ahead of'} the exchange's"
        if behind < LOGIN_VALID_S - SKEW_S:
            return f"{told}, which a login allows for, so look at the key and its secret"
        return f"{told}, so that the login, valid for {LOGIN_VALID_S:.0f} s, had expired: set the clock of this machine"

    def _their_time(self) -> float:
        """Unix seconds by the exchange's clock, asked for without a login, within `CLOCK_LIMIT_S`; raises if it is not told."""
        raise NotImplementedError

    # Calls

    def _subscribe_to(self, shape: str, symbols: Sequence[str], options: SubscribeOptions) -> Subscription:
        if not symbols:
            raise UsageError(f'name at least one symbol, such as "BTCUSDT", for {shape.format("SYMBOL")}')
        return self._subscribe(self._topics_of(tuple(shape.format(symbol) for symbol in symbols), {}), **options)


def checked_url(name: str, url: str | None, usual: str) -> str:
    """What the parameter *name* was given, of which there are several; *usual* for None."""
    if url is None:
        return usual
    check_url(url, name)
    return url


def check_request(op: Any, args: Any) -> None:
    """`UsageError` for what `request` does not say: statements about topics, logins, and what has no JSON."""
    if not isinstance(op, str) or not op:
        raise UsageError(f'op {op!r}: takes the name of one, such as "ping"')
    if op in ("subscribe", "unsubscribe", "auth"):
        raise UsageError(f"{op}: would undo what this client has stated on the connection; use subscribe() instead")
    if not isinstance(args, (list, tuple)):
        raise UsageError(f"{op}: args takes a list or a tuple, not {type(args).__name__}")
    try:
        dump([op, args])
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{op}: args cannot be said in JSON: {error}") from None
