"""What Prometheus sees of clients, with its own library and its own parser."""

from __future__ import annotations

import sys

import pytest
from life_helpers import collect

from exchange_ws import metrics
from exchange_ws.errors import UsageError
from exchange_ws.sandbox import Sandbox

prometheus_client = pytest.importorskip("prometheus_client")

#: The labels of the only client, or of the first.
FIRST = {"exchange": "whitebit", "client": "1"}


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=1, tick=None, limits=False) as box:
        yield box


def scraped(registry):
    """Samples by name, as a scraper reads them from the text."""
    from prometheus_client.parser import text_string_to_metric_families

    text = prometheus_client.generate_latest(registry).decode()
    return {
        sample.name: [other for other in family.samples if other.name == sample.name]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def clients_in(registry):
    return sorted(sample.labels["client"] for sample in scraped(registry).get("exchange_ws_messages_total", ()))


def test_every_counter_is_shown(box, registry):
    """Every number of `stats` is shown at each scrape, as it is then, with its units and by the conventions for names."""
    with box.client() as ws:
        metrics.export(ws, registry=registry)
        trades = ws.subscribe("trades", "BTC_USDT", queue_size=1)
        box.step(20)
        box.garbage()
        ws.ping()
        trades.get_many()
        ws.subscribe("depth", "BTC_USDT", limit=5, interval="0").collect(1)
        stats, samples = ws.stats(), scraped(registry)
    told = {key: f"exchange_ws_{metric}_total" for key, metric, _ in metrics.COUNTERS}
    told.update({key: f"exchange_ws_{metric}" for key, metric, _ in metrics.GAUGES})
    assert {key for key, value in stats.items() if isinstance(value, (int, float))} == told.keys()
    assert {key: stats[key] for key in told} == {key: samples[name][0].value for key, name in told.items()}
    assert [FIRST] * len(told) == [samples[name][0].labels for name in told.values()]
    assert (True, True) == (stats["dropped"] > 0, stats["malformed"] == 1)
    for key in ("lag", "round_trip"):
        shown = {sample.labels["quantile"]: sample.value for sample in samples[f"exchange_ws_{key}_seconds"]}
        assert {"0.5": stats[key]["p50"], "0.99": stats[key]["p99"]} == shown
    states = {sample.labels["exchange_ws_state"]: sample.value for sample in samples["exchange_ws_state"]}
    assert {"idle": 0, "connecting": 0, "open": 1, "reconnecting": 0, "closed": 0} == states


def test_several_clients(box, registry):
    """Each client has its own samples, in one registry; a number is never another client's, a name is given once."""
    with box.client() as first, box.client() as second, Sandbox("bitzoom") as other_box, other_box.client() as other:
        for ws in (first, second, other):
            metrics.export(ws, registry=registry)
        assert ["1", "1", "2"] == clients_in(registry)
        metrics.export(first, registry=registry)
        assert ["1", "1", "2"] == clients_in(registry)
        metrics.export(first, "mine", registry)
        assert ["1", "2", "mine"] == clients_in(registry)
        with pytest.raises(UsageError, match="name='mine': another client of whitebit has it"):
            metrics.export(second, "mine", registry)
        metrics.export(other, "mine", registry)
        assert ["2", "mine", "mine"] == clients_in(registry)
        metrics.export(first, registry=prometheus_client.CollectorRegistry())


def test_name_that_is_a_number(box, registry):
    """A number that somebody took for a name is left out where they are given."""
    with box.client() as first, box.client() as second:
        metrics.export(first, "1", registry)
        metrics.export(second, registry=registry)
        assert ["1", "2"] == clients_in(registry)


def test_client_that_is_gone(box, registry):
    """A closed client is shown as such; one that nobody has any more is not, and this is no reason to keep it."""
    ws = box.client().connect()
    metrics.export(ws, registry=registry)
    ws.close()
    shown = scraped(registry)
    assert [1.0] == [sample.value for sample in shown["exchange_ws_state"] if sample.labels["exchange_ws_state"] == "closed"]
    assert shown["exchange_ws_messages_total"][0].value >= 0
    del ws
    collect()
    assert {} == scraped(registry)
    with box.client() as ws:
        metrics.export(ws, registry=registry)
        assert ["2"] == clients_in(registry)


def test_client_of_another_process(box, registry, monkeypatch):
    """In a child of the process that made the client, a scrape goes on without it."""
    with box.client() as ws:
        metrics.export(ws, registry=registry)
        with monkeypatch.context() as child:
            child.setattr(ws, "_pid", -1)
            assert {} == scraped(registry)
        assert ["1"] == clients_in(registry)


def test_the_usual_registry(box):
    """Without a registry it is the library's own, which its server shows."""
    with box.client() as ws:
        metrics.export(ws, "of this test")
        assert "of this test" in clients_in(prometheus_client.REGISTRY)


def test_no_prometheus_client(box, monkeypatch):
    """Without the library, the error says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'exchange_ws\[metrics\]'"):
        metrics.export(box.client())
