"""What Feast can express of the training set: `python in_feast.py FOLDER basic|distinct dask|duckdb OUT`.

It computes no windows. It is given those of each midnight (`midnights.py`) and finds the newest for each row of the spine, with
one of its own offline stores: pandas under Dask, or SQL by ibis in DuckDB. So its values are up to a day old.
"""

import sys
import tempfile
import time
from pathlib import Path

import dask
import feast
import ibis
import pandas
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float64, Int64
from feast.value_type import ValueType

from windows import columns

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


def store(repository: str, kind: str) -> FeatureStore:
    Path(repository, "feature_store.yaml").write_text(f"""project: bench
provider: local
registry: {repository}/registry.db
online_store: null
offline_store: {{ type: {kind} }}
entity_key_serialization_version: 3
""")
    return FeatureStore(repo_path=repository)


def view(table: Path, service: str) -> FeatureView:
    double = ("spend", "dearest")
    schema = [Field(name=name, dtype=Float64 if name.startswith(double) else Int64) for name in columns(service)]
    source = FileSource(path=str(table), timestamp_field="as_of")
    return FeatureView(name="midnight", entities=[USER], schema=schema, source=source)


def main() -> None:
    folder, service, kind, out = Path(sys.argv[1]), *sys.argv[2:]
    dask.config.set(num_workers=2)
    ibis.get_backend().con.execute("set threads = 2")
    with tempfile.TemporaryDirectory() as repository:
        feasted = store(repository, kind)
        midnight = view((folder / "midnights" / f"{service}.parquet").resolve(), service)
        feasted.apply([USER, midnight])
        started = time.monotonic()
        spine = pandas.read_parquet(folder / "spine.parquet")
        names = [f"midnight:{name}" for name in columns(service)]
        feasted.get_historical_features(entity_df=spine, features=names).to_df().to_parquet(out)
        print(f"Feast {feast.__version__}, {time.monotonic() - started:.2f} s without imports and set-up")


if __name__ == "__main__":
    main()
