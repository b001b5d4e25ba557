-- A version that was replaced, or rolled back, is retained for a while: written, and not served.
ALTER TABLE view_version DROP CONSTRAINT view_version_state_check;
ALTER TABLE view_version ADD CONSTRAINT view_version_state_check
    CHECK (state IN ('building', 'live', 'retained', 'dropped'));

-- Views whose version before was served again: from one version to another.
CREATE TABLE rollback (
    project TEXT NOT NULL,
    view TEXT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    from_version TEXT NOT NULL,
    to_version TEXT NOT NULL
);

CREATE INDEX rollback_newest ON rollback (project, at DESC);
