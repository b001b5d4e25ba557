"""Feast's feature server: `python feast_server.py FOLDER REDIS_URL FEATURES USERS WORKERS`.

Declares a view of FEATURES doubles in FOLDER, writes USERS users into Redis, and serves them by WORKERS processes. Prints
`serving ADDRESS` once it answers.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float64
from feast.value_type import ValueType

folder, redis, features, users, workers = sys.argv[1:]
names = [f"f{number}" for number in range(int(features))]
address = redis.removeprefix("redis://")
Path(folder, "feature_store.yaml").write_text(f"""project: bench
provider: local
registry: {folder}/registry.db
online_store: {{ type: redis, connection_string: "{address}" }}
offline_store: {{ type: file }}
entity_key_serialization_version: 3
""")
rows = pandas.DataFrame({"user_id": [f"u{number}" for number in range(int(users))]})
rows["event_timestamp"] = datetime.now(timezone.utc)
rows = pandas.concat([rows, pandas.DataFrame({name: [number * 1.25 for number in range(len(rows))] for name in names})], axis=1)
rows.to_parquet(f"{folder}/rows.parquet")
source = FileSource(path=f"{folder}/rows.parquet", timestamp_field="event_timestamp")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
schema = [Field(name=name, dtype=Float64) for name in names]
view = FeatureView(name="activity", entities=[user], schema=schema, source=source, ttl=timedelta(days=30))
store = FeatureStore(repo_path=folder)
store.apply([user, view, FeatureService(name="activity", features=[view])])
store.write_to_online_store("activity", df=rows)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
serve = ["-c", "from feast.cli.cli import cli; cli()", "-c", folder, "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", workers, "--no-access-log"]
server = subprocess.Popen([sys.executable, *serve], stdout=sys.stderr)
while True:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
        break
    except OSError:
        if server.poll() is not None:
            sys.exit("Feast's server ended")
        time.sleep(0.1)
print(f"serving 127.0.0.1:{port}", flush=True)
server.wait()
