"""The training set in Polars: `POLARS_MAX_THREADS=2 python in_polars.py FOLDER basic|distinct rolling|join OUT`.

Polars has no windows of another table's rows, nor windows whose length differs from row to row.

`rolling` splits a window where the hop of the label time begins. Before that it is as long for every question, so that Polars'
rolling aggregates have it; the rest is a running aggregate within the hop. Counts of distinct values do not add up that way, so
they are beyond it. It runs in memory: the streaming engine was not done with a tenth of the events after minutes.

`join` is an inequality join with filtered aggregates, streamed.
"""

import sys
from pathlib import Path

import polars as pl

from windows import HOPS, columns


def rolling(folder: Path) -> pl.LazyFrame:
    asked = pl.scan_parquet(folder / "spine.parquet").rename({"event_timestamp": "t"})
    events = pl.scan_parquet(folder / "events.parquet").select("user_id", "amount", t="at")
    # Questions first: an event of the label time itself is out.
    rows = pl.concat([asked, events], how="diagonal").sort("t", maintain_order=True)
    for window, (length, hop) in HOPS.items():
        rows = rows.with_columns(hop=pl.col("t").dt.truncate(f"{hop}s"))
        rows = rows.with_columns(**of_window(window, {"window_size": f"{length}s", "closed": "left"}))
    return rows.filter(pl.col("id").is_not_null()).select("id", *columns("basic"))


def of_window(window: str, past: dict[str, str]) -> dict[str, pl.Expr]:
    within_hop, amount = ["user_id", "hop"], pl.col("amount")
    there = amount.is_not_null().cast(pl.Int64)
    count_before = there.rolling_sum_by("hop", **past).over("user_id")
    count = count_before + there.cum_sum().over(within_hop)
    # Taking away what leaves the window may leave 1e-13 of an empty one.
    spend_before = pl.when(count_before > 0).then(amount.rolling_sum_by("hop", **past).over("user_id")).otherwise(0)
    spend = spend_before + amount.fill_null(0).cum_sum().over(within_hop)
    dearest_before = amount.rolling_max_by("hop", **past).over("user_id")
    dearest = pl.max_horizontal(dearest_before, amount.cum_max().forward_fill().over(within_hop))
    return {f"n_{window}": count, f"spend_{window}": spend, f"dearest_{window}": dearest}


def join(folder: Path, service: str) -> pl.LazyFrame:
    events = pl.scan_parquet(folder / "events.parquet")
    spine = pl.scan_parquet(folder / "spine.parquet").rename({"event_timestamp": "t"})
    pairs = spine.join(events, on="user_id").filter(pl.col("at") < pl.col("t"))
    aggregates = []
    for window, (length, hop) in HOPS.items():
        held = pl.col("at") >= (pl.col("t") - pl.duration(seconds=length)).dt.truncate(f"{hop}s")
        aggregates += [held.sum().alias(f"n_{window}")]
        aggregates += [pl.col("amount").filter(held).sum().alias(f"spend_{window}")]
        aggregates += [pl.col("amount").filter(held).max().alias(f"dearest_{window}")]
        aggregates += [pl.col("item_id").filter(held).n_unique().alias(f"items_{window}")] if service == "distinct" else []
    answered = pairs.group_by("id").agg(aggregates)
    zeros = [pl.col(name).fill_null(0) for name in columns(service) if not name.startswith("dearest")]
    return spine.select("id").join(answered, on="id", how="left").with_columns(zeros)


def main() -> None:
    folder, service, form, out = Path(sys.argv[1]), *sys.argv[2:]
    print(f"Polars {pl.__version__}, {pl.thread_pool_size()} threads")
    if form == "join":
        join(folder, service).sort("id").sink_parquet(out)
    else:
        rolling(folder).sort("id").collect(engine="in-memory").write_parquet(out)


if __name__ == "__main__":
    main()
