-- Times are microseconds since 1970-01-01 UTC. Every row carries its project.

CREATE TABLE project (
    name TEXT PRIMARY KEY,
    shards BIGINT NOT NULL
);

CREATE TABLE revision (
    project TEXT NOT NULL,
    number BIGINT NOT NULL,
    applied_at BIGINT NOT NULL,
    applied_by TEXT NOT NULL,
    PRIMARY KEY (project, number)
);

CREATE TABLE revision_file (
    project TEXT NOT NULL,
    revision BIGINT NOT NULL,
    position BIGINT NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (project, revision, position),
    FOREIGN KEY (project, revision) REFERENCES revision (project, number)
);

-- `revision` is the newest that defines the version: defaults and descriptions may change while values do not.
-- Copies of its rows in the online store are numbered as they are begun: it is served from `generation`; `rebuilding` is
-- built beside it, to take its place; `begun` were ever begun; `rows_since` is when any of that changed.
CREATE TABLE view_version (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    view TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'dropped')),
    since BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    generation BIGINT NOT NULL DEFAULT 0,
    rebuilding BIGINT,
    begun BIGINT NOT NULL DEFAULT 1,
    rows_since BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (project, fingerprint),
    FOREIGN KEY (project, revision) REFERENCES revision (project, number)
);

-- The copies that may be in the store: those in use, and those that are still to be removed from it.
CREATE TABLE row_copy (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    generation BIGINT NOT NULL,
    PRIMARY KEY (project, fingerprint, generation),
    FOREIGN KEY (project, fingerprint) REFERENCES view_version (project, fingerprint)
);

CREATE TABLE job (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    progress DOUBLE PRECISION NOT NULL,
    request TEXT NOT NULL,
    result TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    owner TEXT NOT NULL,
    stop_asked BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (project, id)
);

CREATE INDEX job_newest ON job (project, created_at DESC);

-- Counts applies and promotions, so that a process sees with one small query that another made one.
CREATE TABLE change (
    project TEXT PRIMARY KEY,
    count BIGINT NOT NULL
);

-- A process is alive until then, by the database's clock.
CREATE TABLE lease (
    project TEXT NOT NULL,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (project, owner)
);
