-- What may run at most once rests on its fence; of any other, a forgotten fence costs work done twice at worst (see `journal.grant`).
ALTER TABLE fence ADD COLUMN effects INTEGER NOT NULL DEFAULT 1;
CREATE INDEX fence_of ON fence (requester, effects);
