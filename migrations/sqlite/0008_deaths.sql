-- How many processes were lost while they worked on the job: what ends each that takes it up is not taken up for ever.
ALTER TABLE job ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
-- Whether its owner works on it, or it waits for its turn.
ALTER TABLE job ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
