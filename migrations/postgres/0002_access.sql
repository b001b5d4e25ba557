-- API keys by the SHA-256 of their text, in hex. `services` and `sources` are names with commas between them, and empty
-- where the key is not limited to any. A revoked key stays, so that it is known who had one.
CREATE TABLE api_key (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    services TEXT NOT NULL,
    sources TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT,
    PRIMARY KEY (project, id)
);

-- Calls that may change something, written before they are done; `outcome` comes after.
CREATE TABLE audit (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    call TEXT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (project, id)
);

CREATE INDEX audit_newest ON audit (project, at DESC);
