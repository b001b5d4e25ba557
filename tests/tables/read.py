"""Reads a feature table as its users do: `python read.py FOLDER RUN` prints, as JSON, what DuckDB and pandas find.

FOLDER is `features/<view>/v=<version>`. DuckDB is given the files of the run, pandas the whole folder. Values are written as
`POST /v1/online-features` writes them; of each reader there are its own names of the types, and the rows in order.
"""

import json
import math
import sys
from base64 import b64encode
from datetime import date, datetime, timezone
from decimal import Decimal

import duckdb
import numpy
import pandas


def by_duckdb(folder, run):
    files = f"{folder}/dt=*/{run}-*.parquet"
    table = duckdb.sql(f"SELECT * EXCLUDE (v) FROM read_parquet('{files}', hive_partitioning = true)")
    types = {name: str(kind) for name, kind in zip(table.columns, table.types)}
    return types, table.to_arrow_table().to_pylist()


def by_pandas(folder):
    frame = pandas.read_parquet(folder, dtype_backend="pyarrow")
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    columns = [frame[name].tolist() for name in frame.columns]
    return types, [dict(zip(frame.columns, row)) for row in zip(*columns)]


def plain(value, kind):
    if isinstance(value, list):
        return [plain(item, kind) for item in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return instant(value.astimezone(timezone.utc).replace(tzinfo=None))
    if isinstance(value, (date, Decimal)):
        return str(value)
    if value is pandas.NA or isinstance(value, float) and not math.isfinite(value):
        return None
    # Python has no single precision: its shortest digits are those of a double.
    if isinstance(value, float) and "float" in kind.lower():
        return float(str(numpy.float32(value)))
    return value


def instant(value):
    parts = "seconds" if value.microsecond == 0 else "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.isoformat(timespec=parts) + "Z"


def found(types, rows):
    rows = [{name: plain(value, types[name]) for name, value in row.items()} for row in rows]
    return {"types": types, "rows": sorted(rows, key=lambda row: (row["as_of"], row["user_id"]))}


folder, run = sys.argv[1:]
print(json.dumps({"duckdb": found(*by_duckdb(folder, run)), "pandas": found(*by_pandas(folder))}))
