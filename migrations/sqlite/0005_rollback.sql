-- A version that was replaced, or rolled back, is retained for a while: written, and not served. SQLite changes a CHECK
-- by another table alone, and what refers to a table has to go before it.
CREATE TABLE next_version (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    view TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'retained', 'dropped')),
    since INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    rebuilding INTEGER,
    begun INTEGER NOT NULL DEFAULT 1,
    rows_since INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, fingerprint),
    FOREIGN KEY (project, revision) REFERENCES revision (project, number)
) STRICT;

INSERT INTO next_version (project, fingerprint, view, state, since, revision, generation, rebuilding, begun, rows_since)
SELECT project, fingerprint, view, state, since, revision, generation, rebuilding, begun, rows_since FROM view_version;

CREATE TABLE next_copy (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (project, fingerprint, generation),
    FOREIGN KEY (project, fingerprint) REFERENCES next_version (project, fingerprint)
) STRICT;

INSERT INTO next_copy (project, fingerprint, generation) SELECT project, fingerprint, generation FROM row_copy;

DROP TABLE row_copy;
DROP TABLE view_version;
ALTER TABLE next_version RENAME TO view_version;
ALTER TABLE next_copy RENAME TO row_copy;

-- Views whose version before was served again: from one version to another.
CREATE TABLE rollback (
    project TEXT NOT NULL,
    view TEXT NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    from_version TEXT NOT NULL,
    to_version TEXT NOT NULL
) STRICT;

CREATE INDEX rollback_newest ON rollback (project, at DESC);
