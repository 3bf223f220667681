-- The trail, layout 4. `events` is the truth: one row a fact, never updated, never deleted, each line carrying
-- the hash of the line before it. The tables of `finding.sql` are projections of it, for finding things; they are
-- written in the same transaction and `jitd audit verify` rebuilds them and compares. The text of each statement is compared
-- with what a file has: another text is another layout.

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY,
    grant_id TEXT,
    kind     TEXT NOT NULL,
    line     TEXT NOT NULL
) STRICT;

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN NEW.seq <= (SELECT max(seq) FROM events)
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
