//! Parquet datasets: the archive of events, dead letters, logged lookups, feature tables and training sets.
