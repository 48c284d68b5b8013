-- What the owner felt, as said or sensed (systems S2): it never leaves this device. Days are kept until they are erased.
CREATE TABLE told (
    at REAL NOT NULL,
    source TEXT NOT NULL,
    valence REAL NOT NULL CHECK (valence BETWEEN -1 AND 1),
    arousal REAL NOT NULL CHECK (arousal BETWEEN -1 AND 1),
    valence_sd REAL NOT NULL CHECK (valence_sd > 0),
    arousal_sd REAL NOT NULL CHECK (arousal_sd > 0)
) STRICT;
CREATE INDEX told_at ON told (at);
CREATE TABLE mood_day (at REAL PRIMARY KEY, valence REAL NOT NULL, arousal REAL NOT NULL, count INTEGER NOT NULL) STRICT;
