"""
What users receive: one vocabulary for every exchange.

Events are made once for each push, so they are slotted and not frozen; treat them as read-only. What an exchange does not
tell is None, never a guess. Prices and sizes are `decimal.Decimal`, exact as on the wire, unless the client was made with
``numbers=float`` or ``numbers=str``.
"""

from __future__ import annotations

from typing import Any, Callable, Union

import attrs

__all__ = [
    "Balance",
    "BookTicker",
    "BookUpdate",
    "Candle",
    "Event",
    "Fill",
    "Gap",
    "LastPrice",
    "Order",
    "Other",
    "Position",
    "Ticker",
    "Trade",
]

#: A price or a size: what the client's `numbers` made of the wire's text.
Number = Any
#: Makes a `Number` of the wire's text.
Numbers = Callable[[str], Any]


def _not_before_since(gap: Gap, _: attrs.Attribute[Any], until: float | None) -> float | None:
    return until if until is None else max(gap.since, until)


@attrs.define
class Gap:
    """
    Something that is missing from a stream, or may be.

    `reason` is "overflow" (the buffer was full), "reconnect" (the connection was lost), "sequence" (the exchange's own
    numbering shows a hole), "joined late" (the stream's opening snapshot went to an earlier subscriber, or did not come when it
    was subscribed again for one), "silent" (nothing of a topic came for much longer than usual, or than its exchange states; it
    is subscribed again) or "malformed" (a message could not be read: an update of this subscription, or, with `dropped` None,
    one of which nobody knows whose it was).
    `since` and `until` are Unix seconds by our clock; `until` is None while the gap is open, and equals `since` if our clock
    was set back meanwhile. `dropped` is the number of messages missing, None when it cannot be known. `repaired`: what came
    afterwards fills it. Every record that was missed (trades, fills, executed orders) was delivered, or there was none; of
    states (balances, open orders) the present ones are, without the steps between.
    """

    reason: str
    since: float
    until: float | None = attrs.field(default=None, on_setattr=_not_before_since)
    dropped: int | None = None
    repaired: bool = False

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from exchange_ws import display

        return display.gap_html(self)


@attrs.define
class Event:
    """The fields that every event has."""

    exchange: str  #: "whitebit", "bybit-spot-v3", ...
    channel: str  #: the vendor's name of the channel
    symbol: str | None  #: as the vendor spells it; None where a push concerns no single one
    time: float | None  #: Unix seconds by the exchange's clock
    received: float  #: Unix seconds by our clock, when the bytes were read
    raw: Any = attrs.field(repr=False)  #: the vendor's parsed JSON of this event, nothing left out
    gap: Gap | None  #: what is missing before this event

    def _repr_html_(self) -> str:
        """What a notebook shows: all but `raw`, and that where there is nothing else."""
        from exchange_ws import display

        common = attrs.fields_dict(Event)
        return display.event_html(self, [field.name for field in attrs.fields(type(self)) if field.name not in common])


@attrs.define
class Trade(Event):
    """One trade; `side` is the taker's. `snapshot`: replayed by the exchange rather than live."""

    id: Any
    price: Number
    size: Number
    side: str | None
    snapshot: bool = False


@attrs.define
class LastPrice(Event):
    """The price of the last trade."""

    price: Number


@attrs.define
class Ticker(Event):
    """Statistics over `period` seconds, or over what the channel's documentation says where that is None."""

    last: Number
    open: Number
    high: Number
    low: Number
    volume: Number  #: in the base asset
    quote_volume: Number
    period: int | None


@attrs.define
class BookTicker(Event):
    """Best bid and ask with their sizes."""

    bid: Number
    bid_size: Number
    ask: Number
    ask_size: Number


@attrs.define
class Candle(Event):
    """One candle; `start` is Unix seconds, `interval` seconds, `closed` None where the exchange does not tell."""

    start: float
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number  #: in the base asset
    quote_volume: Number
    interval: int | None
    closed: bool | None


@attrs.define
class BookUpdate(Event):
    """
    A change of an order book, or the whole of it.

    `kind` is "snapshot" (replace what you have) or "delta" (set these levels; size 0 removes one). `bids` and `asks` are
    tuples of (price, size), best first. `sequence` numbers this update, `previous` the one before it, where the exchange tells.
    """

    kind: str
    bids: tuple[Any, ...]
    asks: tuple[Any, ...]
    sequence: int | None
    previous: int | None


@attrs.define
class Balance(Event):
    """One asset of an account."""

    asset: str
    available: Number
    locked: Number


@attrs.define
class Order(Event):
    """The state of one order."""

    id: Any
    client_id: str | None
    side: str | None
    type: str | None
    price: Number
    size: Number
    filled: Number
    status: str | None


@attrs.define
class Fill(Event):
    """One execution of an own order; `role` is "maker" or "taker"."""

    id: Any
    order_id: Any
    price: Number
    size: Number
    side: str | None
    fee: Number
    fee_asset: str | None
    role: str | None


@attrs.define
class Position(Event):
    """One open position; `size` is negative when short."""

    size: Number
    entry_price: Number
    unrealized_pnl: Number
    leverage: Number


@attrs.define
class Other(Event):
    """An event of a channel that has no twin on other exchanges: all that it says is in `raw`."""


#: What a subscription yields: an event, or with ``gaps=True`` also a `Gap`, or with ``raw=True`` the vendor's JSON.
Item = Union[Event, Gap, Any]
