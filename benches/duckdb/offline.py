"""The training sets of `benches/offline.rs` in DuckDB and Polars: the same events, spine and window edges, two threads.

    python3 -m venv duck && duck/bin/pip install duckdb polars pyarrow
    cargo bench --bench offline -- make FOLDER 10000000 500000
    duck/bin/python benches/duckdb/offline.py FOLDER basic|distinct range|join|fixed|polars...

DuckDB is asked in two forms, of which the faster one counts: `range`, windows over events and questions in one table, and
`join`, an inequality join with filtered aggregates. Both begin their windows at a whole hop, as Freshet does. `fixed` is
`range` with windows of exactly an hour, a day, a week: another result, which is not compared, and what DuckDB does fastest.
The others are compared with `FOLDER/out/ours.parquet`: every row, counts exactly, sums to 1e-9, a null only with a null.
Where anything differs, or there is nothing to compare with, it exits with 1. Each engine is a process of its own, so that its
peak of memory is its own.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

HOPS = {"1h": (3600, 60), "24h": (86400, 900), "7d": (604800, 3600)}  # length and hop, in seconds
AGGREGATES = ["n", "spend", "dearest"]


def start(length: int, hop: int, at: str) -> str:
    """The first event time that the window holds: T - W, floored to the hop."""
    micros = f"epoch_us({at}) - {length * 1_000_000}"
    return f"make_timestamp(({micros}) - ({micros}) % {hop * 1_000_000})"


def columns(distinct: bool) -> list[str]:
    names = [*AGGREGATES, *(["items"] if distinct else [])]
    return [f"{name}_{window}" for name in names for window in HOPS]


def join_sql(distinct: bool) -> str:
    parts = []
    for window, (length, hop) in HOPS.items():
        held = f"filter (where e.happened >= {start(length, hop, 's.t')})"
        parts += [f"count(e.happened) {held} as n_{window}", f"coalesce(sum(e.amount) {held}, 0) as spend_{window}"]
        parts += [f"max(e.amount) {held} as dearest_{window}"]
        parts += [f"count(distinct e.item_id) {held} as items_{window}"] if distinct else []
    longest = start(*HOPS["7d"], "s.t")
    return f"""
        select s.id, {", ".join(parts)} from spine s
        left join events e on e.user_id = s.user_id and e.happened < s.t and e.happened >= {longest}
        group by s.id"""


def range_sql(distinct: bool, fixed: bool) -> str:
    """A frame by T - W floored to the hop: its length differs from row to row, which a frame may."""
    parts, frames = [], []
    for window, (length, hop) in HOPS.items():
        past = f"interval {length} seconds" if fixed else f"t - {start(length, hop, 'as_of')}"
        frames.append(
            f"w_{window} as (partition by user_id order by t range between ({past}) preceding and current row)"
        )
        parts += [f"count(amount) over w_{window} as n_{window}"]
        parts += [f"coalesce(sum(amount) over w_{window}, 0) as spend_{window}"]
        parts += [f"max(amount) over w_{window} as dearest_{window}"]
        parts += [f"count(distinct item_id) over w_{window} as items_{window}"] if distinct else []
    # An event of the label time itself is out: questions stand a microsecond before their time, and ask of it.
    return f"""
        with rows as (
            select null as id, user_id, happened as t, happened as as_of, amount, item_id from events
            union all select id, user_id, t - interval 1 microsecond, t, null, null from spine)
        select * exclude (t) from (select id, t, {", ".join(parts)} from rows window {", ".join(frames)})
        where id is not null"""


def duckdb_run(folder: Path, distinct: bool, form: str) -> None:
    import duckdb

    db = duckdb.connect()
    db.execute(f"set threads = 2; set TimeZone = 'UTC'; set temp_directory = '{folder}/duckdb.tmp'")
    db.execute(f"""create view events as
        select user_id, item_id, amount, "at"::timestamp as happened from '{folder}/events.parquet'""")
    db.execute(f"""create view spine as
        select id, user_id, event_timestamp::timestamp as t from '{folder}/spine.parquet'""")
    sql = join_sql(distinct) if form == "join" else range_sql(distinct, form == "fixed")
    db.execute(f"copy ({sql} order by id) to '{folder}/{form}.parquet'")


def polars_run(folder: Path, distinct: bool, form: str) -> None:
    """An inequality join of lazy frames, streamed: Polars has no windows of another table's rows."""
    import polars as pl

    events = pl.scan_parquet(folder / "events.parquet")
    spine = pl.scan_parquet(folder / "spine.parquet").rename({"event_timestamp": "t"})
    pairs = spine.join(events, on="user_id").filter(pl.col("at") < pl.col("t"))
    aggregates = []
    for window, (length, hop) in HOPS.items():
        floor = (pl.col("t") - pl.duration(seconds=length)).dt.truncate(f"{hop}s")
        held = pl.col("at") >= floor
        aggregates += [held.sum().alias(f"n_{window}")]
        aggregates += [pl.col("amount").filter(held).sum().alias(f"spend_{window}")]
        aggregates += [pl.col("amount").filter(held).max().alias(f"dearest_{window}")]
        aggregates += [pl.col("item_id").filter(held).n_unique().alias(f"items_{window}")] if distinct else []
    answered = pairs.group_by("id").agg(aggregates)
    zeros = [pl.col(name).fill_null(0) for name in columns(distinct) if not name.startswith("dearest")]
    everyone = spine.select("id").join(answered, on="id", how="left").with_columns(zeros)
    everyone.sort("id").sink_parquet(folder / f"{form}.parquet")


def compare(folder: Path, service: str, distinct: bool, form: str) -> tuple[str, bool]:
    """What to say of the results, and whether they are the same: every row, and every value, null or not."""
    import duckdb

    if form == "fixed":
        return "another result by definition, not compared", True
    ours = folder / "out" / "ours.parquet"
    if not ours.exists():
        return f"nothing to compare with: {ours} is not there", False
    db = duckdb.connect()
    db.execute(f"create view ours as from '{ours}'; create view theirs as from '{folder}/{form}.parquet'")
    mine, theirs, distinct_ids, alone = db.execute("""
        select (select count(*) from ours), (select count(*) from theirs), (select count(distinct id) from ours),
            (select count(*) from ours o full join theirs t on o.id = t.id where o.id is null or t.id is null)""").fetchone()
    wrong = [f"{mine} rows are ours and {theirs} theirs"] if mine != theirs else []
    wrong += [f"{alone} rows stand on one side only"] if alone else []
    wrong += [f"{mine} rows of ours have {distinct_ids} ids"] if mine != distinct_ids else []
    wrong += ["there is no row"] if not mine else []
    for name in columns(distinct):
        o, t = f'o."{service}:{name}"', f't."{name}"'
        differs = f"{o} is distinct from {t}"
        if name.startswith("spend"):
            # A null on one side is not within any tolerance.
            differs += f" and coalesce(abs({o} - {t}) > 1e-9 * greatest(abs({o}), abs({t})), true)"
        count = db.execute(f"select count(*) from ours o join theirs t using (id) where {differs}").fetchone()[0]
        wrong += [f"{name}: {count} differ"] if count else []
    return ("; ".join(wrong), False) if wrong else (f"{mine} rows equal ours", True)


def main() -> None:
    folder, service, forms = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    distinct = service == "distinct"
    if len(forms) > 1:
        runs = [subprocess.run([sys.executable, __file__, str(folder), service, form], check=False) for form in forms]
        sys.exit(int(any(run.returncode for run in runs)))
    form = forms[0]
    started = time.monotonic()
    (polars_run if form == "polars" else duckdb_run)(folder, distinct, form)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    processors, peak = used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
    print(f"{service}, {form}: {seconds:.2f} s ({processors:.1f} s of processors), peak {peak} MiB", end="; ")
    said, same = compare(folder, service, distinct, form)
    print(said, flush=True)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
