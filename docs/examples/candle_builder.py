"""
Candles of WhiteBIT's trades, to a CSV file, or to Parquet if pyarrow is installed.

    python docs/examples/candle_builder.py candles.csv --sandbox --interval 1 --count 5
    python docs/examples/candle_builder.py candles.parquet --market ETH_USDT --interval 60

An interval without trades has no row. Where trades may be missing, the column `missing` says why: "start" and "end" of the
recording, or the reason of a gap; an interval within a gap has a row without prices. A candle is written when a trade of a
later one has come. Ends after --count candles, or with Ctrl-C, which completes the file.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from exchange_ws import ExchangeError, WhiteBIT
from exchange_ws.events import Trade

COLUMNS = ("start", "open", "high", "low", "close", "volume", "trades", "missing")  # start: Unix seconds


def candles(trades: Iterable[Trade], interval: int) -> Iterator[dict[str, Any]]:
    """A row for each interval that has a trade, or may have had one; the last of them when *trades* end."""
    row: dict[str, Any] = {}
    for trade in trades:
        start = int(trade.time // interval) * interval
        missing = "" if trade.gap is None or trade.gap.repaired else trade.gap.reason
        row = row or begun(start, "start")
        row["missing"] = row["missing"] or missing
        while row["start"] < start:
            yield row
            row = begun(row["start"] + interval if missing else start, missing)
        row["open"] = row["open"] or trade.price
        row["high"] = max(trade.price, row["high"] or trade.price)
        row["low"] = min(trade.price, row["low"] or trade.price)
        row["close"] = trade.price
        row.update(volume=row["volume"] + trade.size, trades=row["trades"] + 1)
    if row:
        yield {**row, "missing": row["missing"] or "end"}


def begun(start: int, missing: str) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS), "start": start, "volume": 0, "trades": 0, "missing": missing}


def write(path: str, rows: Iterable[dict[str, Any]]) -> None:
    if path.endswith(".parquet"):
        import pyarrow.parquet

        return pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)  # such a file is written as a whole
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in rows:
            table.writerow(row)
            file.flush()  # it can be read at any time, and a crash takes no candle away


def until_interrupted(events: Iterable[Any]) -> Iterator[Any]:
    """*events* until Ctrl-C, which ends them as anything else would."""
    with contextlib.suppress(KeyboardInterrupt):
        yield from events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="name.csv or name.parquet")
    parser.add_argument("--market", default="BTC_USDT")
    parser.add_argument("--interval", type=int, default=60, metavar="SECONDS", help="60 if not told")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many candles")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    arguments = parser.parse_args()
    if arguments.file.endswith(".parquet") and find_spec("pyarrow") is None:
        parser.error("a .parquet file needs pyarrow: python -m pip install pyarrow")
    with contextlib.ExitStack() as stack:
        client = WhiteBIT()
        if arguments.sandbox:
            from exchange_ws.sandbox import Sandbox

            client = stack.enter_context(Sandbox("whitebit", seed=1)).client()
        # "raise": a recording that cannot keep up ends, rather than lose a trade.
        trades = stack.enter_context(client).subscribe_trades(arguments.market, overflow="raise")
        rows = candles(until_interrupted(trades), arguments.interval)
        write(arguments.file, itertools.islice(rows, arguments.count))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"candle_builder: {error}")
