"""A feature table for Feast, which joins values and computes none: every user of the spine at every midnight before a label time.

`python midnights.py FOLDER SERVICE spine` writes the instants as a spine into FOLDER/midnights, for Freshet to answer, and
`… table` makes of the answer what a backfill with `every: 1d` writes.
"""

import sys
from pathlib import Path

import duckdb

from windows import columns

SPINE = """select row_number() over () as id, user_id, event_timestamp
    from (select distinct user_id from '{spine}')
    cross join (select distinct date_trunc('day', event_timestamp) as event_timestamp from '{spine}')"""


def main() -> None:
    folder, service, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    midnights = folder / "midnights"
    db = duckdb.connect()
    db.execute("set threads = 2; set TimeZone = 'UTC'")
    if step == "spine":
        midnights.mkdir(exist_ok=True)
        if not (midnights / "archive").exists():
            (midnights / "archive").symlink_to((folder / "archive").resolve())
        db.execute(f"copy ({SPINE.format(spine=folder / 'spine.parquet')}) to '{midnights}/spine.parquet'")
    else:
        names = ", ".join(f'"{service}:{name}" as {name}' for name in columns(service))
        answer = f"select user_id, event_timestamp as as_of, {names} from '{midnights}/out/ours.parquet' order by 1, 2"
        db.execute(f"copy ({answer}) to '{midnights}/{service}.parquet'")


if __name__ == "__main__":
    main()
