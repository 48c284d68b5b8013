-- How long a result has waited for its submitter, and a fence been kept, in seconds of a running daemon: see 0005.
ALTER TABLE execution ADD COLUMN kept_s REAL NOT NULL DEFAULT 0;
ALTER TABLE fence ADD COLUMN kept_s REAL NOT NULL DEFAULT 0;
