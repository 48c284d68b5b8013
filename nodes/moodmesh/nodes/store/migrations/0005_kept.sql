-- How long a job has been kept since its end, in seconds of a running daemon: a wall clock that was wrong for a while, as on a
-- device that boots in 1970, must not age a result by years.
ALTER TABLE job ADD COLUMN kept_s REAL NOT NULL DEFAULT 0;
