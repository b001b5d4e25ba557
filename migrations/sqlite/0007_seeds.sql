-- How the rows of a copy begin: `cut` has, for partitions of the log, the offset below which they are the archive's
-- (`partition:offset` with commas between; null until that is decided); `seeded` whether they are there, so that the stream
-- goes on with them. Copies of before are the stream's from the start.
ALTER TABLE row_copy ADD COLUMN cut TEXT;
ALTER TABLE row_copy ADD COLUMN seeded INTEGER NOT NULL DEFAULT 0;
UPDATE row_copy SET cut = '', seeded = 1;
