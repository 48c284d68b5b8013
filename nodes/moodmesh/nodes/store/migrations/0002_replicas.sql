-- Jobs of other devices as their owners told them (routing §8): no input, no result; gone with the pair, or after 7 days.
CREATE TABLE replica (
    owner TEXT NOT NULL REFERENCES peer (device) ON DELETE CASCADE,
    job TEXT NOT NULL,
    body TEXT NOT NULL,            -- JSON: `Seen`
    size INTEGER NOT NULL,
    first REAL NOT NULL,           -- when it was first heard of, by this device's clock: from then on it is kept 7 days
    at REAL NOT NULL,              -- when it was last heard of
    PRIMARY KEY (owner, job)
) STRICT;
CREATE INDEX replica_job ON replica (job);
