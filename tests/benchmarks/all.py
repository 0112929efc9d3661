# ruff: noqa: T201  (a command: its output is the point)
"""
Everything that is measured of how fast this is, beside what others take for the same.

    python tests/benchmarks/all.py [PART ...] [--rounds N] [--size X] [--case NAME] [--without NAME] [--venvs DIR] [--json FILE]

Parts are ``blast``, ``tls``, ``books``, ``delay``, ``roundtrip``, ``rest``, ``import``, ``connections``, ``subscriptions``; all
of them take half an hour. It needs Linux, OpenSSL's command for ``tls``, and a network that has the other clients' packages:
each is installed into an environment of its own in DIR (``~/.cache/exchange_ws-benchmarks``), once for each version in
`venvs.py`. One that cannot be installed is left out, and that is said. `throughput.py` needs none of them.

All clients take turns, in an order that rotates. Figures are medians; the ratios are those of rounds, with their least and
greatest, since the machine's speed changes between rounds: what is called ``events / it`` is the figure of our typed events
divided by that of the client of the line. Figures alone say more about the machine, and what else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from venvs import REQUIREMENTS, python_of

from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import COMPETITORS, Result
from exchange_ws.bench.rounds import LEAST, against, counted, measure, python, turns
from exchange_ws.errors import InternalError

HERE = Path(__file__).resolve().parent
#: Of each client, by figure, what it measured in each round.
Figures = dict[str, dict[str, list[float]]]

DELIVERED = "share delivered"
MESSAGES = 100_000  # of one run of the fastest
#: Share of the messages that slower clients get: a run is some tenths of a second for each.
SHARES = {"websocket-client": 0.1, "websockets": 0.3, "pybit": 0.05, "ccxt": 0.1, "cryptofeed": 0.1, "picows": 1.0}
V5 = ("websockets", "picows", "pybit", "ccxt", "cryptofeed")
#: Which of them speak a case's language; the first two know none.
SPEAK = {
    "trades": ("websockets", "picows", "ccxt"),
    "v5-trades": V5,
    "v5-deltas": ("websockets", "picows", "pybit", "ccxt"),
    "v5-books": V5,
    "v5-deep-books": ("websockets", "picows", "pybit"),
}
NO_BOOKS = ("websockets", "picows")
OUR_OWN = ("events", "raw", "called", "websocket-client", "websocket-client-skip-utf8", "websocketapp", "limit")


class Benchmark:
    """What was asked for, and all that came of it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.rounds: int = given.rounds
        self.pythons: dict[str, str] = {}
        self.told: dict[str, Figures] = {}
        for name in REQUIREMENTS:
            if name in given.without:
                continue
            try:
                self.pythons[name] = str(python_of(name, given.venvs))
            except subprocess.SubprocessError as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                print(f"{name}: left out, it cannot be installed: {said[-1]}", flush=True)

    def count(self, share: float) -> int:
        """Of messages."""
        return max(LEAST, int(MESSAGES * self.given.size * share))

    def installed(self, names: Sequence[str]) -> list[str]:
        """Those of *names* that there are."""
        return [name for name in names if name in self.pythons and name not in self.given.without]

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Those of *names* that were not left out."""
        return [name for name in names if name not in self.given.without]

    def take_turns(
        self, title: str, names: Sequence[str], once: Callable[[str], Mapping[str, float]], mine: Sequence[str]
    ) -> None:
        """All rounds; a client that fails is told, and has no line."""
        found: Figures = {name: {} for name in names}
        for number, order in turns(list(names), self.rounds):
            for name in order:
                if name not in found:
                    continue
                self._say(f"{title}: round {number} of {self.rounds}, {name}")
                try:
                    figures = once(name)
                except InternalError as error:
                    self._say("")
                    print(f"{title}: {name} is left out: {error}", flush=True)
                    del found[name]
                    continue
                for what, figure in figures.items():
                    found[name].setdefault(what, []).append(figure)
        self._say("")
        self.told[title] = found
        print("\n" + "\n".join(table(title, found, [name for name in mine if name in found])), flush=True)

    @staticmethod
    def _say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def peer(self, name: str, what: str, plan: Mapping[str, Any], scheme: str = "ws") -> Callable[[str], Sequence[str]]:
        """The command of a client of `peers.py`, for a port."""
        symbol = {"ccxt": "ETH/BTC" if plan["case"] == "trades" else "BTC/USDT"}.get(name, "BTCUSDT")
        text = json.dumps({"symbol": symbol, **plan})
        return lambda port: [self.pythons[name], str(HERE / "peers.py"), name, what, f"{scheme}://localhost:{port}/", text]


def table(title: str, found: Figures, mine: Sequence[str]) -> list[str]:
    """A block for each figure; what the figures of each line stand to ours in, round by round."""
    lines = []
    for what in dict.fromkeys(what for figures in found.values() for what in figures):
        if what == DELIVERED:
            for name, figures in found.items():
                if what in figures and min(figures[what]) < 1.0:
                    lines.append(f"{title}: {name} shows its consumer {median(figures[what]):.3g} of the messages")
            continue
        lines.append(f"{title}: {what}" + "".join(f"{name + ' / it':>26}" for name in mine))
        for name, figures in found.items():
            if what not in figures:
                continue
            line = f"    {name:28}{median(figures[what]):>14,.4g}"
            for other in mine:
                ratios = [ours / its for ours, its in zip(found[other].get(what, ()), figures[what]) if its]
                if ratios:
                    line += f"{median(ratios):>10.3g} {f'({min(ratios):.2g}-{max(ratios):.2g})':>15}"
            lines.append(line)
    return lines


def result_figures(result: Result) -> dict[str, float]:
    """What is told of a blast."""
    return {
        "messages/s": result.rate,
        "CPU s per million": result.cpu_per_million,
        "peak MiB": result.peak_mib,
        DELIVERED: result.delivered,
    }


def plan_of(case: str, count: int) -> dict[str, Any]:
    """What a client of `peers.py` has to know."""
    asked = CASES[case]
    depth = int(asked.topic[0].split(".")[1]) if "." in asked.topic[0] and asked.topic[0].startswith("orderbook") else 0
    return {
        "case": case,
        "command": asked.command,
        "count": count,
        "objects": asked.objects,
        "events": asked.events,
        "depth": depth,
    }


def blast(bench: Benchmark) -> None:
    """Messages as fast as they are taken."""
    for case in bench.given.case or CASES:
        peers = bench.installed(SPEAK.get(case, NO_BOOKS))

        def once(name: str, case: str = case, peers: Sequence[str] = peers) -> Mapping[str, float]:
            if name not in peers:
                return result_figures(measure(name, case, int(MESSAGES * bench.given.size)))
            count = bench.count(SHARES[name] * CASES[case].share)
            sender = python("exchange_ws.bench.sender", case, str(count))
            told = against(sender, bench.peer(name, "blast", plan_of(case, count)), f"{name}, {case}")
            return result_figures(counted(Result(*told), count, f"{name}, {case}"))

        bench.take_turns(f"blast {case}", [*bench.wanted(OUR_OWN), *peers], once, ("events", "raw"))


def tls(bench: Benchmark) -> None:
    """The same over TLS, a record each message; all of them check the certificate."""
    case = "v5-trades"
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "certificate.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-days", "2", *subject]
        certificate.write_bytes(subprocess.run(made, check=True, capture_output=True).stdout)
        trusted = {"SSL_CERT_FILE": str(certificate), "WEBSOCKET_CLIENT_CA_BUNDLE": str(certificate)}
        own = bench.wanted(("events", "raw", "websocket-client-skip-utf8"))
        peers = bench.installed(V5)

        def once(name: str) -> Mapping[str, float]:
            share = SHARES[name] if name in peers else COMPETITORS[name].share
            count = bench.count(share)
            client = bench.peer(name, "blast", plan_of(case, count), "wss") if name in peers else None
            if client is None:
                client = lambda port: python("exchange_ws.bench.competitors", name, case, f"wss://localhost:{port}/")  # noqa: E731
            sender = python("exchange_ws.bench.sender", case, str(count), str(certificate))
            told = against(sender, client, f"{name}, {case} over TLS", **trusted)
            return result_figures(counted(Result(*told), count, f"{name}, {case} over TLS"))

        bench.take_turns("tls v5-trades", [*own, *peers], once, ("events", "raw"))


def server(mode: str, count: int, rate: int = 0) -> list[str]:
    """The command of `server.py`."""
    return [sys.executable, str(HERE / "server.py"), mode, str(count), str(rate)]


def ours(what: str, plan: Mapping[str, Any]) -> Callable[[str], Sequence[str]]:
    """The command of `ours.py`, for a port."""
    return lambda port: [sys.executable, str(HERE / "ours.py"), what, f"ws://localhost:{port}/", json.dumps(plan)]


OUR_BOOKS = {"each update": "book", "looked at": "book-looked-at"}


def books(bench: Benchmark) -> None:
    """A live order book: ours is read after each update, or every millisecond, since ccxt pro tells of few of them."""
    peers = bench.installed(("pybit", "ccxt", "cryptofeed"))

    def once(name: str) -> Mapping[str, float]:
        count = bench.count(SHARES.get(name, 0.5))
        if name in OUR_BOOKS:
            return result_figures(Result(*against(server("book", count), ours(OUR_BOOKS[name], {"count": count}), name)))
        sender = python("exchange_ws.bench.sender", "v5-deltas", str(count))
        return result_figures(Result(*against(sender, bench.peer(name, "blast", plan_of("v5-deltas", count)), name)))

    bench.take_turns("books v5-deltas", [*OUR_BOOKS, *peers], once, tuple(OUR_BOOKS))


OUR_DELAYS = {"events": "delay", "raw": "delay-raw"}


def delay(bench: Benchmark) -> None:
    """From the server's send to the consumer's code, in microseconds."""
    peers = bench.installed(("websocket-client", *V5))
    for rate, seconds in ((100, 5.0), (5_000, 2.0), (20_000, 2.0)):
        count = int(rate * seconds)

        def once(name: str, rate: int = rate, count: int = count) -> Mapping[str, float]:
            plan = plan_of("v5-trades", count)
            client = bench.peer(name, "delay", plan) if name in peers else ours(OUR_DELAYS[name], plan)
            late = against(server("paced", count, rate), client, f"{name}, {rate}/s")
            cuts = quantiles(late, n=1000)
            shown = min(1.0, len(late) / (count - count // 10))
            return {"p50 us": cuts[499], "p99 us": cuts[989], "p99.9 us": cuts[998], DELIVERED: shown}

        bench.take_turns(f"delay {rate}/s", ["events", "raw", *peers], once, ("events", "raw"))


def roundtrip(bench: Benchmark) -> None:
    """A request and its answer, one after the other, in microseconds."""
    peers = bench.installed(("websocket-client", "websockets"))

    def once(name: str) -> Mapping[str, float]:
        plan = plan_of("trades", 2500)
        client = bench.peer(name, "roundtrip", plan) if name in peers else ours("roundtrip", plan)
        cuts = quantiles(against(server("answers", 0), client, name), n=100)
        return {"p50 us": cuts[49], "p99 us": cuts[98]}

    bench.take_turns("roundtrip", ["exchange_ws", *peers], once, ("exchange_ws",))


def rest(bench: Benchmark) -> None:
    """Connections on which nothing is said."""
    peers = bench.installed(("pybit",))
    seconds = 21.0 * bench.given.size  # beside pings every 20 s

    for connections in (1, 50):

        def once(name: str, connections: int = connections) -> Mapping[str, float]:
            plan = {**plan_of("v5-trades", connections), "seconds": seconds}
            client = bench.peer(name, "idle", plan) if name in peers else ours("idle", plan)
            cpu, kib, threads = against(server("answers", 0), client, name)
            figures = {"CPU %": 100 * cpu / seconds, "threads": threads}
            return {**figures, "KiB, each more": kib} if connections > 1 else figures

        bench.take_turns(f"rest {connections}", ["exchange_ws", *peers], once, ("exchange_ws",))


IMPORTS = {
    "python": "pass",
    "exchange_ws": "import exchange_ws; exchange_ws.WhiteBIT",
    "websocket-client": "import websocket",
    "websockets": "import websockets.sync.client",
    "pybit": "import pybit.unified_trading",
    "ccxt": "import ccxt.pro",
    "cryptofeed": "import cryptofeed",
}


def imports(bench: Benchmark) -> None:
    """Of a fresh process, with the start of Python; what that takes alone is the first line."""

    def once(name: str) -> Mapping[str, float]:
        command = [bench.pythons.get(name, sys.executable), "-c", IMPORTS[name]]
        compiled = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(command, check=True, cwd=HERE.parent.parent, env=compiled, stderr=subprocess.DEVNULL)
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=HERE.parent.parent, stderr=subprocess.DEVNULL)
        whole = 1e3 * (time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run([command[0], "-c", "pass"], check=True)
        return {"ms": max(0.1, whole - 1e3 * (time.perf_counter() - began)) if name != "python" else whole}

    bench.take_turns("import", ["python", "exchange_ws", *bench.installed(list(IMPORTS))], once, ("exchange_ws",))


def connections(bench: Benchmark) -> None:
    """Blasts on several connections of one process: messages of all together."""
    names = {f"{number} connections": number for number in (1, 4, 16)}
    count = bench.count(0.5)

    def once(name: str) -> Mapping[str, float]:
        number = names[name]
        told = against(server("crowd", count, number), ours("connections", {"connections": number}), name)
        return result_figures(counted(Result(*told), count * number, name))

    bench.take_turns("connections v5-trades", list(names), once, ("1 connections",))


def subscriptions(bench: Benchmark) -> None:
    """One connection with many subscriptions, one of which is blasted; and what it takes to make them."""
    names = {f"{number} subscriptions": number for number in (1, 50, 500, 5000)}
    count = bench.count(0.5)

    def once(name: str) -> Mapping[str, float]:
        number = names[name]
        plan = {"subscriptions": number, "count": count}
        told, seconds, kib = against(server("watched", count), ours("subscriptions", plan), name)
        figures = result_figures(Result(*told))
        if number > 1:
            figures.update({"us to subscribe, each": 1e6 * seconds / (number - 1), "KiB, each": kib})
        return figures

    bench.take_turns("subscriptions v5-trades", list(names), once, ("1 subscriptions", "500 subscriptions"))


PARTS = {
    "blast": blast,
    "tls": tls,
    "books": books,
    "delay": delay,
    "roundtrip": roundtrip,
    "rest": rest,
    "import": imports,
    "connections": connections,
    "subscriptions": subscriptions,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Everything that is measured of speed, beside other clients.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of all clients (default: %(default)s)")
    parser.add_argument("--size", type=float, default=1.0, help="of each run, beside its usual one (default: %(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="of blast, only this one; may be repeated")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a client out; may be repeated")
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "exchange_ws-benchmarks", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds there")
    given = parser.parse_args()
    if unknown := sorted(set(given.parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    given.venvs.mkdir(parents=True, exist_ok=True)
    bench = Benchmark(given)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for part in given.parts or PARTS:
        PARTS[part](bench)
        if given.json is not None:
            given.json.write_text(json.dumps(bench.told, indent=1))
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
