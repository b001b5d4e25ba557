"""Whether a peer's training set is ours: `python compare.py OURS THEIRS basic|distinct [MIDNIGHTS SPINE]`.

Every row, counts and greatest values exactly, sums to 1e-9, a null only with a null. With MIDNIGHTS, theirs is compared with what
we say of the midnight before each label time, and counted is what that differs from the label time's own. Exits with 1 if
anything differs.
"""

import sys

import duckdb

from windows import columns


def differs(name: str) -> str:
    said = f"o.{name} is distinct from t.{name}"
    if name.startswith("spend"):
        # A null on one side is not within any tolerance.
        said += f" and coalesce(abs(o.{name} - t.{name}) > 1e-9 * greatest(abs(o.{name}), abs(t.{name})), true)"
    return f"({said})"


def mistakes(db: duckdb.DuckDBPyConnection, names: list[str]) -> list[str]:
    mine, theirs, distinct_ids, alone = db.execute("""
        select (select count(*) from ours), (select count(*) from theirs), (select count(distinct id) from ours),
            (select count(*) from ours o full join theirs t on o.id = t.id where o.id is null or t.id is null)""").fetchone()
    wrong = [f"{mine} rows are ours and {theirs} theirs"] if mine != theirs else []
    wrong += [f"{alone} rows stand on one side only"] if alone else []
    wrong += [f"{mine} rows of ours have {distinct_ids} ids"] if mine != distinct_ids else []
    wrong += ["there is no row"] if not mine else []
    for name in names:
        count, most = db.execute(f"""
            select count(*), max(abs(o.{name} - t.{name})) from ours o join theirs t using (id) where {differs(name)}
            """).fetchone()
        wrong += [f"{name}: {count} differ, by {most} at most"] if count else []
    return wrong


def main() -> None:
    ours, theirs, service, *stale = sys.argv[1:]
    names = columns(service)
    plain = ", ".join(f'"{service}:{name}" as {name}' for name in names)
    db = duckdb.connect()
    db.execute(f"set threads = 2; set TimeZone = 'UTC'; create view theirs as from '{theirs}'")
    db.execute(f"create view exact as select id, {plain} from '{ours}'")
    if stale:
        midnights, spine = stale
        db.execute(f"""create view ours as select s.id, m.* exclude (user_id, as_of) from '{spine}' s
            join '{midnights}' m on m.user_id = s.user_id and m.as_of = date_trunc('day', s.event_timestamp)""")
    else:
        db.execute("create view ours as from exact")
    wrong = mistakes(db, names)
    rows = db.execute("select count(*) from ours").fetchone()[0]
    print("; ".join(wrong) if wrong else f"{rows} rows equal ours{' of the midnights before' if stale else ''}")
    if stale:
        moved = " or ".join(differs(name) for name in names)
        count = db.execute(f"select count(*) from exact o join theirs t using (id) where {moved}").fetchone()[0]
        print(f"{count} of them are not those of the label time any more")
    sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    main()
