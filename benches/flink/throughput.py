"""The throughput workload on Apache Flink: the same events, the same windows and aggregates, thrown away at the end.

    python -m venv flink && flink/bin/pip install apache-flink==2.3.0        # Python 3.11, Java 17
    cargo bench --bench throughput -- 500000 events.ndjson                   # writes the events and stops
    flink/bin/python benches/flink/throughput.py events.ndjson

Reads a file, not Kafka: no Kafka connector for Flink 2.3 was published when this was written, so Flink is spared the
broker's share of the processors. Hopping windows give each event to every window that it is in, as Flink does it.
"""

import sys
import time
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment

WINDOWS = {"10m": ("10 SECOND", "10 MINUTE"), "1h": ("1 MINUTE", "1 HOUR"), "24h": ("15 MINUTE", "24 HOUR")}

SOURCE = """
CREATE TABLE events (
  `timestamp` BIGINT, user_id STRING, event STRING, item_id STRING, price DOUBLE, quantity BIGINT,
  happened AS TO_TIMESTAMP_LTZ(`timestamp`, 3),
  WATERMARK FOR happened AS happened - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json')
"""

SINK = """
CREATE TABLE sink_{name} (
  user_id STRING, window_end TIMESTAMP(3), events BIGINT, spend DOUBLE, dearest DOUBLE, last_item STRING
) WITH ('connector' = 'blackhole')
"""

INSERT = """
INSERT INTO sink_{name}
SELECT user_id, window_end, COUNT(*), SUM(price), MAX(price), LAST_VALUE(item_id)
FROM HOP(TABLE events, DESCRIPTOR(happened), INTERVAL {hop}, INTERVAL {length})
GROUP BY user_id, window_start, window_end
"""


def interval(text: str) -> str:
    number, unit = text.split()
    return f"'{number}' {unit}"


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    count = sum(1 for _ in path.open("rb"))
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    table.get_config().set("parallelism.default", "2")
    table.execute_sql(SOURCE.format(path=path.as_uri()))
    statements = table.create_statement_set()
    for name, (hop, length) in WINDOWS.items():
        table.execute_sql(SINK.format(name=name))
        statements.add_insert_sql(INSERT.format(name=name, hop=interval(hop), length=interval(length)))
    started = time.monotonic()
    statements.execute().wait()
    took = time.monotonic() - started
    print(f"{count} events in {took:.1f} s: {count / took:,.0f} events/s, start of the job included")


if __name__ == "__main__":
    main()
