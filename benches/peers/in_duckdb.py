"""The training set in DuckDB: `python in_duckdb.py FOLDER basic|distinct range|join|fixed OUT`.

Two forms give our values: `range`, windows over events and questions in one table, and `join`, an inequality join with filtered
aggregates. `fixed` is `range` with windows of exactly an hour, a day, a week: another result, and what DuckDB does fastest.
"""

import sys

import duckdb

from windows import HOPS


def start(length: int, hop: int, at: str) -> str:
    """The first event time that the window holds: T - W, floored to the hop."""
    micros = f"epoch_us({at}) - {length * 1_000_000}"
    return f"make_timestamp(({micros}) - ({micros}) % {hop * 1_000_000})"


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


def main() -> None:
    folder, service, form, out = sys.argv[1:]
    print(f"DuckDB {duckdb.__version__}")
    db = duckdb.connect()
    db.execute(f"set threads = 2; set TimeZone = 'UTC'; set temp_directory = '{folder}/duckdb.tmp'")
    db.execute(f"""create view events as
        select user_id, item_id, amount, "at"::timestamp as happened from '{folder}/events.parquet'""")
    db.execute(f"""create view spine as
        select id, user_id, event_timestamp::timestamp as t from '{folder}/spine.parquet'""")
    distinct = service == "distinct"
    sql = join_sql(distinct) if form == "join" else range_sql(distinct, form == "fixed")
    db.execute(f"copy ({sql} order by id) to '{out}'")


if __name__ == "__main__":
    main()
