-- Submitter side: jobs of this device (routing §8). Blobs (`input`, `output`) are JSON: inline bytes or an artefact id.
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    task TEXT NOT NULL,
    spec TEXT NOT NULL,            -- JSON: params, variant, on, public, quality, seed, units, bytes: all that placement needs
    input TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'STOPPED', 'SUCCEEDED', 'FAILED')),
    substate TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    winner INTEGER,
    output TEXT,
    provenance TEXT,
    created REAL NOT NULL,
    finished REAL
) STRICT;
CREATE INDEX job_created ON job (created);

CREATE TABLE attempt (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,       -- the fence
    device TEXT NOT NULL,
    variant TEXT NOT NULL,
    state TEXT NOT NULL,
    explain TEXT NOT NULL,         -- JSON: every candidate's terms or gate, as seen when this attempt was placed
    created REAL NOT NULL,
    reserved REAL, started REAL, finished REAL,
    message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, number)
) STRICT;

CREATE TABLE job_log (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (job, attempt, seq)
) STRICT;

-- Executor side: attempts this device granted to others or to itself, until the result is acknowledged.
CREATE TABLE execution (
    requester TEXT NOT NULL,
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('RESERVED', 'STAGING', 'RUNNING', 'DELIVERING')),
    personal INTEGER NOT NULL,
    units REAL NOT NULL,
    boot TEXT NOT NULL,            -- the daemon's run that owns the worker
    result TEXT,                   -- JSON: the `result` message, kept until `result_ack`
    created REAL NOT NULL,
    PRIMARY KEY (requester, job, number)
) STRICT;

CREATE TABLE fence (               -- the highest attempt ever obeyed, per job: lower ones are dropped
    requester TEXT NOT NULL,
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (requester, job)
) STRICT;

CREATE TABLE rate (
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    engine TEXT NOT NULL,
    model TEXT NOT NULL,           -- model hash: a new model is a new rate
    mean REAL NOT NULL,            -- seconds per unit
    log_mean REAL NOT NULL,
    log_var REAL NOT NULL,
    count INTEGER NOT NULL,
    load_s REAL NOT NULL,
    measured REAL NOT NULL,
    PRIMARY KEY (task, variant, engine, model)
) STRICT;

CREATE TABLE peer (
    device TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    certificate BLOB NOT NULL,
    k_pair BLOB NOT NULL,
    half INTEGER NOT NULL,
    paired REAL NOT NULL,
    last_seen REAL,
    correction REAL NOT NULL DEFAULT 0,    -- mean ln(actual / claimed) seconds of its jobs for this device (routing §3)
    addresses TEXT NOT NULL DEFAULT '[]'   -- the last three good ones
) STRICT;

CREATE TABLE rule (
    device TEXT NOT NULL REFERENCES peer (device) ON DELETE CASCADE,
    action TEXT NOT NULL,
    limits TEXT NOT NULL,
    PRIMARY KEY (device, action)
) STRICT;

CREATE TABLE usage (               -- what each attempt of a peer took, for its quotas; a clock set back refills nothing
    device TEXT NOT NULL,
    action TEXT NOT NULL,
    charged REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    attempt TEXT NOT NULL,
    PRIMARY KEY (device, action, attempt)
) STRICT;

CREATE TABLE pairing_failure (
    day TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day)
) STRICT;

CREATE TABLE note (                -- small facts that outlive a run: highest wall clock seen, identity resets
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
