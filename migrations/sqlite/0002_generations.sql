-- Copies of a version's rows in the online store, numbered as they are begun. A version is served from `generation`;
-- `rebuilding` is built beside it, to take its place; `begun` were ever begun; `rows_since` is when any of that changed.
ALTER TABLE view_version ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE view_version ADD COLUMN rebuilding INTEGER;
ALTER TABLE view_version ADD COLUMN begun INTEGER NOT NULL DEFAULT 1;
ALTER TABLE view_version ADD COLUMN rows_since INTEGER NOT NULL DEFAULT 0;

-- The copies that may be in the store: those in use, and those that are still to be removed from it.
CREATE TABLE row_copy (
    project TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (project, fingerprint, generation),
    FOREIGN KEY (project, fingerprint) REFERENCES view_version (project, fingerprint)
) STRICT;

INSERT INTO row_copy (project, fingerprint, generation) SELECT project, fingerprint, 0 FROM view_version;
