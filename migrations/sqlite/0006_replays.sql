-- Which dead letters of a source were decoded again under a mark of its schema: those below the offset that `ends` has
-- for their partition, with commas between.
CREATE TABLE replay (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    decoding TEXT NOT NULL,
    ends TEXT NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    PRIMARY KEY (project, source, decoding)
) STRICT;
