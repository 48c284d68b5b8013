-- The parts of an answer that is made bit by bit, each once, in order from 0 (routing §8); gone with their job.
CREATE TABLE part (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (job, number)
) STRICT;

-- Executor side: the parts of a finished attempt that its submitter has not acknowledged, joined; `first` is the index of the first.
ALTER TABLE execution ADD COLUMN parts BLOB NOT NULL DEFAULT x'';
ALTER TABLE execution ADD COLUMN first_part INTEGER NOT NULL DEFAULT 0;
