-- Several processes share a registry: each sees what the others apply, and knows whose jobs have been left behind.

-- Counts applies and promotions.
CREATE TABLE change (
    project TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT;

-- A process is alive until then, by the database's clock.
CREATE TABLE lease (
    project TEXT NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (project, owner)
) STRICT;

ALTER TABLE job ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN stop_asked INTEGER NOT NULL DEFAULT 0;
