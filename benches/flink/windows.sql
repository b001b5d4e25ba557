-- The view of benches/workload on Flink's windowed table functions, which share the slices of overlapping windows. They have no
-- last value that can be merged, so the fourth aggregate is one that costs Flink as much: the greatest item.
SET 'execution.target' = 'local';
SET 'execution.runtime-mode' = 'streaming';
SET 'table.dml-sync' = 'true';
SET 'parallelism.default' = '2';
SET 'pipeline.object-reuse' = 'true';

CREATE TABLE events (
  `timestamp` BIGINT, user_id STRING, event STRING, item_id STRING, price DOUBLE, quantity BIGINT,
  happened AS TO_TIMESTAMP_LTZ(`timestamp`, 3),
  WATERMARK FOR happened AS happened - INTERVAL '1' MINUTE
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'
);

CREATE TABLE sink_10m (user_id STRING, window_end TIMESTAMP(3), events BIGINT, spend DOUBLE, dearest DOUBLE, last_item STRING) WITH ('connector' = 'blackhole');
CREATE TABLE sink_1h (user_id STRING, window_end TIMESTAMP(3), events BIGINT, spend DOUBLE, dearest DOUBLE, last_item STRING) WITH ('connector' = 'blackhole');
CREATE TABLE sink_24h (user_id STRING, window_end TIMESTAMP(3), events BIGINT, spend DOUBLE, dearest DOUBLE, last_item STRING) WITH ('connector' = 'blackhole');

EXECUTE STATEMENT SET BEGIN
INSERT INTO sink_10m SELECT user_id, window_end, COUNT(*), SUM(price), MAX(price), MAX(item_id)
  FROM HOP(TABLE events, DESCRIPTOR(happened), INTERVAL '10' SECOND, INTERVAL '10' MINUTE) GROUP BY user_id, window_start, window_end;
INSERT INTO sink_1h SELECT user_id, window_end, COUNT(*), SUM(price), MAX(price), MAX(item_id)
  FROM HOP(TABLE events, DESCRIPTOR(happened), INTERVAL '1' MINUTE, INTERVAL '1' HOUR) GROUP BY user_id, window_start, window_end;
INSERT INTO sink_24h SELECT user_id, window_end, COUNT(*), SUM(price), MAX(price), MAX(item_id)
  FROM HOP(TABLE events, DESCRIPTOR(happened), INTERVAL '15' MINUTE, INTERVAL '24' HOUR) GROUP BY user_id, window_start, window_end;
END;
