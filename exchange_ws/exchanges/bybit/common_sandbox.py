"""What the sandbox's sides of Bybit's languages have in common, whatever the version."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from exchange_ws.sandbox.market import Candle, Market

__all__ = ["DAY", "DIALS", "IDLE_S", "MONTH", "WEEK", "begin", "candles", "plain", "signature", "trade_id", "wire_json"]

DIALS = (500, 300.0)  # "Connect": new connections, 500 in 5 minutes
IDLE_S = 600.0  # seconds of a client's silence until it is cut off [spot v3: observed; V5: "Connect", about 10 minutes]
DAY = 86400
WEEK, MONTH = "week", "month"  # spans of candles that begin where no multiple of seconds does


def plain(number: Decimal) -> str:
    """A decimal as the wire has it on spot: no exponent, no zeros at the end."""
    return f"{number.normalize() + 0:f}"


def wire_json(value: object) -> str:
    """JSON as the vendor's servers write and escape it."""
    return json.dumps(value, separators=(",", ":")).replace(">", "\\u003e")


def trade_id(number: int) -> str:
    """Id of a spot trade: digits."""
    return str(2_290_000_000_000_000_000 + number)


def signature(secret: str, expires: str) -> str:
    """Signature of a login that is good until *expires*, decimal Unix milliseconds [V5, "Connect", "Authentication"]."""
    return hmac.new(secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()


def begin(span: int | str, moment: int) -> int:
    """Unix seconds at which the candle around *moment* begins; *span* in seconds, or `WEEK` (from Monday on) or `MONTH`."""
    if isinstance(span, int):
        return moment - moment % span
    day = datetime.fromtimestamp(moment - moment % DAY, timezone.utc)
    if span == WEEK:
        day -= timedelta(days=day.weekday())
    else:
        day = day.replace(day=1)
    return int(day.timestamp())


def candles(market: Market, span: int | str, since: int, until: int) -> list[Candle]:
    """Candles from the one that begins at *since* to the one around *until*; those of weeks and months are made of days."""
    parts = market.candles(span if isinstance(span, int) else DAY, since, until)
    if isinstance(span, int):
        return parts
    joined: dict[int, Candle] = {}
    for part in parts:
        start = begin(span, part.start)
        former = joined.get(start)
        joined[start] = Candle(
            start,
            part.open if former is None else former.open,
            part.high if former is None else max(former.high, part.high),
            part.low if former is None else min(former.low, part.low),
            part.close,
            part.volume + (0 if former is None else former.volume),
            part.quote_volume + (0 if former is None else former.quote_volume),
        )
    return list(joined.values())
