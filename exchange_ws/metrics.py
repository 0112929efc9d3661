"""
What clients count, for Prometheus. Needs prometheus-client: the extra ``metrics``.

>>> from exchange_ws import WhiteBIT, metrics
>>> ws = WhiteBIT()
>>> metrics.export(ws)  # doctest: +SKIP
>>> prometheus_client.start_http_server(8000)  # doctest: +SKIP
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from exchange_ws.errors import ExchangeError, UsageError

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

    from exchange_ws import Client

__all__ = ["export"]

PREFIX = "exchange_ws_"
LABELS = ("exchange", "client")
STATES = ("idle", "connecting", "open", "reconnecting", "closed")

#: Key in `Client.stats`, name of the metric, what it is.
COUNTERS = (
    ("messages", "messages", "Messages received, answers included."),
    ("bytes", "received_bytes", "Bytes received, of whole frames."),
    ("requests", "requests", "Requests sent, the client's own included."),
    ("reconnects", "reconnects", "Connections that were made again."),
    ("dropped", "dropped_messages", "Messages dropped since a consumer was too slow."),
    ("gaps", "gaps", "Gaps in all subscriptions."),
    ("repaired", "repaired_gaps", "Gaps of which it turned out that nothing is missing."),
    ("unknown", "unknown_messages", "Messages of a kind that is not known."),
    ("unrouted", "unrouted_updates", "Updates that nobody wants."),
    ("unasked", "unasked_replies", "Answers that belong to no request."),
    ("malformed", "malformed_messages", "Messages that could not be read."),
    ("late", "late_messages", "Answers after their timeout, updates after their unsubscribing."),
)
GAUGES = (
    ("connections", "connections", "Connections that are not closed."),
    ("subscriptions", "subscriptions", "Subscriptions at present."),
    ("waiting", "waiting_messages", "Messages in buffers, for consumers that are behind."),
)
#: Percentiles of the latest samples; not a histogram, since the samples are taken before anybody scrapes.
QUANTILES = (
    ("round_trip", "round_trip_seconds", "From a request to its answer, of the latest ones."),
    ("lag", "lag_seconds", "From the exchange's time to ours, of messages that were read lately."),
)


def export(client: Client, name: str | None = None, registry: CollectorRegistry | None = None) -> None:
    """
    Let Prometheus see what *client* counts, as long as anybody has it.

    Each metric has the labels ``exchange`` and ``client``, and is read from `Client.stats` at each scrape: between two of them
    nothing is done for it.

    Parameters
    ----------
    client
        Any client. A closed one is shown as such; one that nobody has any more is not shown.
    name
        Its label ``client``, for who has several of one exchange; told again, a new one. None: "1" for the first of its
        exchange, "2" for the next.
    registry
        None: `prometheus_client.REGISTRY`.

    Raises
    ------
    UsageError
        prometheus-client is not installed, or another client of this exchange has this name.
    """
    try:
        import prometheus_client
    except ImportError:
        raise UsageError("metrics need prometheus-client: python -m pip install 'exchange_ws[metrics]'") from None
    where = prometheus_client.REGISTRY if registry is None else registry
    with _lock:
        collector = _collectors.get(where)
        if collector is None:
            collector = Collector()
            where.register(collector)
            _collectors[where] = collector
    collector.add(client, name)


class Collector:
    """The clients that one registry shows: a metric stands in a registry once, with the samples of all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two; nothing of a client is asked under it
        self._clients: dict[tuple[str, str], weakref.ref[Client]] = {}  # by the values of `LABELS`
        self._numbers: dict[str, int] = {}  # the last that was given, by exchange: a number is no other client's later

    def add(self, client: Client, name: str | None) -> None:
        """Show *client* from now on."""
        with self._lock:
            shown = next((labels for labels, reference in self._clients.items() if reference() is client), None)
            if name is None:
                if shown is not None:
                    return
                number = self._numbers.get(client.name, 0) + 1
                while (client.name, str(number)) in self._clients:  # somebody took it for a name
                    number += 1
                self._numbers[client.name] = number
                name = str(number)
            labels = (client.name, name)
            if labels != shown:
                former = self._clients.get(labels)
                if former is not None and former() is not None:
                    raise UsageError(f"name={name!r}: another client of {client.name} has it; take another one")
                if shown is not None:
                    del self._clients[shown]
                self._clients[labels] = weakref.ref(client)

    def describe(self) -> Iterator[Any]:
        """The metrics without samples, for the registry to see which names are taken."""
        yield from _families({})

    def collect(self) -> Iterator[Any]:
        """The metrics, as of now. Called by the registry, at a scrape."""
        with self._lock:
            for labels in [labels for labels, reference in self._clients.items() if reference() is None]:
                del self._clients[labels]
            clients = dict(self._clients)
        told: dict[tuple[str, str], dict[str, Any]] = {}
        for labels, reference in clients.items():
            client = reference()
            if client is None:
                continue
            try:
                told[labels] = client.stats()
            except ExchangeError:  # a child of the process that made it: its counters stand still there
                continue
        yield from _families(told)


def _families(told: dict[tuple[str, str], dict[str, Any]]) -> Iterator[Any]:
    """All metrics, with a sample for each entry of *told*."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, StateSetMetricFamily

    for key, metric, text in COUNTERS:
        counter = CounterMetricFamily(PREFIX + metric, text, labels=LABELS)
        for labels, stats in told.items():
            counter.add_metric(labels, stats[key])
        yield counter
    for key, metric, text in GAUGES:
        gauge = GaugeMetricFamily(PREFIX + metric, text, labels=LABELS)
        for labels, stats in told.items():
            gauge.add_metric(labels, stats[key])
        yield gauge
    for key, metric, text in QUANTILES:
        quantiles = GaugeMetricFamily(PREFIX + metric, text, labels=(*LABELS, "quantile"))
        for labels, stats in told.items():
            for share, value in stats[key].items():
                if value is not None:
                    quantiles.add_metric((*labels, str(int(share[1:]) / 100)), value)
        yield quantiles
    state = StateSetMetricFamily(PREFIX + "state", "The worst state of the client's connections.", labels=LABELS)
    for labels, stats in told.items():
        state.add_metric(labels, {name: name == stats["state"] for name in STATES})
    yield state


_lock = threading.Lock()  # guards what is below
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, Collector] = weakref.WeakKeyDictionary()
