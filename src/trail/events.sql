-- The trail, layout 6. `events` is the truth: one row for each fact, never updated, never deleted; each line contains the
-- hash of the previous line. The tables of `finding.sql` are projections of it, for searching; they are written in the same
-- transaction, and `jitd audit verify` rebuilds and compares them. The text of each statement is compared with the text in
-- the file: a different text needs a new layout.

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

-- INSERT OR REPLACE deletes without firing the trigger above.
CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN NEW.seq <= (SELECT max(seq) FROM events)
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
