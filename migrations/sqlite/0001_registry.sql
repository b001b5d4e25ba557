-- Times are microseconds since 1970-01-01 UTC. Every row carries its project.

CREATE TABLE project (
    name TEXT PRIMARY KEY,
    shards INTEGER NOT NULL
) STRICT;

CREATE TABLE revision (
    project TEXT NOT NULL,
    number INTEGER NOT NULL,
    applied_at INTEGER NOT NULL,
    applied_by TEXT NOT NULL,
    PRIMARY KEY (project, number)
) STRICT;

CREATE TABLE revision_file (
    project TEXT NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (project, revision, position),
    FOREIGN KEY (project, revision) REFERENCES revision (project, number)
) STRICT;

-- `revision` is the newest that defines the version: defaults and descriptions may change while values do not.
CREATE TABLE view_version (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    view TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'dropped')),
    since INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (project, fingerprint),
    FOREIGN KEY (project, revision) REFERENCES revision (project, number)
) STRICT;

CREATE TABLE job (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    progress REAL NOT NULL,
    request TEXT NOT NULL,
    result TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (project, id)
) STRICT;

CREATE INDEX job_newest ON job (project, created_at DESC);
