"""
Blocking, thread-based clients for the WebSocket APIs of exchanges.

>>> from exchange_ws import WhiteBIT
>>> with WhiteBIT() as ws:  # doctest: +SKIP
...     for trade in ws.subscribe_trades("BTC_USDT"):
...         print(trade.price, trade.size)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerTooSlow,
    ExchangeError,
    InternalError,
    LimitExceeded,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    SequenceGap,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
    WireError,
)

if TYPE_CHECKING:  # of these only the types are told here: see __getattr__
    import os
    from types import ModuleType

    from exchange_ws.core.client import Client
    from exchange_ws.core.dialect import Dialect
    from exchange_ws.core.livebook import OrderBook
    from exchange_ws.core.merging import Merged, merge
    from exchange_ws.core.replay import Replay
    from exchange_ws.core.session import Backoff
    from exchange_ws.core.subscription import Subscription
    from exchange_ws.dataframes import to_dataframe
    from exchange_ws.events import Numbers
    from exchange_ws.exchanges.bitzoom.client import Bitzoom
    from exchange_ws.exchanges.bybit.client import BybitSpotV3
    from exchange_ws.exchanges.bybit.v5_client import BybitV5
    from exchange_ws.exchanges.whitebit.client import WhiteBIT
    from exchange_ws.wire.recording import Recording

__all__ = [
    "AuthenticationError",
    "Backoff",
    "Bitzoom",
    "BybitSpotV3",
    "BybitV5",
    "Client",
    "ConnectFailed",
    "ConnectionClosed",
    "ConnectionLost",
    "ConsumerTooSlow",
    "ExchangeError",
    "InternalError",
    "LimitExceeded",
    "Merged",
    "OrderBook",
    "RateLimited",
    "Recording",
    "Replay",
    "RequestRejected",
    "RequestTimeout",
    "SequenceGap",
    "Subscription",
    "SubscriptionClosed",
    "SubscriptionRejected",
    "UpdateTimeout",
    "UsageError",
    "WhiteBIT",
    "WireError",
    "clients",
    "connect",
    "merge",
    "replay",
    "to_dataframe",
]

#: Where the names of the engine are. It is imported when one of them is first asked for: pytest imports the package in each of
#: its runs, for the sake of `exchange_ws.testing`, also where no test uses it.
_ENGINE = {
    "Backoff": "exchange_ws.core.session",
    "Client": "exchange_ws.core.client",
    "Merged": "exchange_ws.core.merging",
    "Recording": "exchange_ws.wire.recording",
    "Replay": "exchange_ws.core.replay",
    "OrderBook": "exchange_ws.core.livebook",
    "Subscription": "exchange_ws.core.subscription",
    "merge": "exchange_ws.core.merging",
    "to_dataframe": "exchange_ws.dataframes",
}


def clients() -> dict[str, type[Client]]:
    """Every client class by the name of its API: those in each ``*client.py`` of the folders of `exchange_ws.exchanges`."""
    return {client.name: client for client in _client_classes("")}


def _client_classes(like: str) -> Iterator[type[Client]]:
    """
    All of them, one after the other, those of modules that are called *like* this first.

    Who asks for one takes it and asks for no more: then no other exchange is imported. Where names do not tell, all are.
    """
    base: type[Client] = importlib.import_module(_ENGINE["Client"]).Client
    like = like.lower().replace("-", "")
    exchanges = importlib.import_module("exchange_ws.exchanges")
    for folder in _modules(exchanges, lambda name: like.startswith(name)):
        # An exchange with several APIs has a module for each, beside its first: ``client``, ``v5_client``.
        for name in _modules(importlib.import_module(folder), lambda name: name.partition("_")[0] in like):
            module = importlib.import_module(name) if name.endswith("client") else None
            for value in () if module is None else tuple(vars(module).values()):
                if isinstance(value, type) and issubclass(value, base) and value.__module__ == name:
                    yield value


def _modules(package: ModuleType, first: Callable[[str], bool]) -> list[str]:
    """The full names of what is in *package*, those *first* of which that says so."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [f"{package.__name__}.{name}" for name in sorted(names, key=lambda name: (not first(name), name))]


def connect(name: str, **options: Any) -> Client:
    """
    Make the client of the exchange *name* with *options*, and connect it.

    Raises
    ------
    UsageError
        No such exchange, or an option makes no sense.
    ConnectFailed
        It could not connect.
    """
    return _client_class(name, f"{name!r}")(**options).__enter__()


def _client_class(name: str, what: str) -> type[Client]:
    """The client class of that exchange; `UsageError` about *what* if there is none."""
    for client in _client_classes(name):
        if client.name == name:
            return client
    raise UsageError(f"{what}: no such exchange; there are {', '.join(sorted(clients()))}")


def replay(
    path: str | os.PathLike[str],
    *,
    speed: float | None = 1.0,
    numbers: Numbers = Decimal,
    raw: bool = False,
    gaps: bool = False,
) -> Replay:
    """
    Read a recording, which a client made with its option `record`, as the events that its subscriptions had.

    Parameters
    ----------
    path
        Its first file; the others are found beside it.
    speed
        1.0 takes as long as it took then, 10.0 a tenth of that; None does not wait.
    numbers
        What prices and sizes become: `decimal.Decimal`, `float` or `str`.
    raw
        The exchange's messages, parsed and otherwise as they came, instead of events.
    gaps
        Also yield each `Gap` itself, where it is; the event after it carries it in any case.

    Raises
    ------
    UsageError
        There is no such file, it is no recording, or an argument makes no sense.

    Examples
    --------
    >>> for event in replay("day.jsonl.gz", speed=None):  # doctest: +SKIP
    ...     print(event)
    """
    from exchange_ws.core.replay import Replay

    return Replay(path, _dialects_of, speed=speed, numbers=numbers, raw=raw, gaps=gaps)


def _dialects_of(about: Mapping[str, Any]) -> dict[str, Dialect]:
    """The language of each endpoint of the client whose recording tells this *about* itself."""
    exchange = str(about.get("exchange"))
    return _client_class(exchange, f"a recording of {exchange!r}")._dialects(about)


def __getattr__(name: str) -> Any:
    # PEP 562: the engine, and the exchanges found by listing folders, when first asked for. Lower-case names are submodules.
    if name in _ENGINE:
        return globals().setdefault(name, getattr(importlib.import_module(_ENGINE[name]), name))
    for client in _client_classes(name) if name[:1].isupper() else ():
        if client.__name__ == name:
            return client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ENGINE, *(client.__name__ for client in clients().values())})
