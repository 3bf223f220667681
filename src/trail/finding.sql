-- The tables and indexes for searching; rebuilt from the events when a trail of an earlier layout is opened.

-- `seq` is the number of the request, so that grants that are requested together, and mostly end together, are stored
-- together. `at` is the time of the request in milliseconds. `open` is 1 while a grant is not over, plus 2 while it owes a
-- review. `last` is the number of its newest event.
CREATE TABLE grants (
    seq       INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    key       TEXT NOT NULL,
    at        INTEGER NOT NULL,
    open      INTEGER NOT NULL,
    last      INTEGER NOT NULL
) STRICT;

CREATE INDEX grants_in_order ON grants (open);
CREATE INDEX grants_by_key ON grants (key, requester);
CREATE INDEX grants_of_person ON grants (requester);

-- The groups whose members may see a grant that they did not request: those that may approve or review it.
CREATE TABLE watchers (
    watcher TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (watcher, seq)
) STRICT, WITHOUT ROWID;

-- A link from each event of a grant to the previous one. An index on `events.grant_id` would serve the same purpose, but each
-- grant would have a page there: renewing 64 grants at once would write 64 pages, while this table only grows at its end.
CREATE TABLE links (
    seq    INTEGER PRIMARY KEY,
    before INTEGER NOT NULL
) STRICT;

-- The final state of a grant that is over and owes no review, as JSON, so that a list reads one row for each grant instead of
-- all its events.
CREATE TABLE closed (
    seq  INTEGER PRIMARY KEY,
    made TEXT NOT NULL
) STRICT;

-- Events that may happen to a grant only once, also across restarts: `bind_intended` uses up an approval. The kinds are
-- compared one by one, because for an `IN` of this length SQLite fills a temporary table for each insert, which took longer
-- than the insert itself.
CREATE UNIQUE INDEX once ON events (grant_id, kind) WHERE
    kind = 'requested' OR kind = 'approved' OR kind = 'denied' OR kind = 'withdrawn' OR kind = 'lapsed'
    OR kind = 'bind_intended' OR kind = 'bound' OR kind = 'live' OR kind = 'unbind_intended' OR kind = 'ended';

-- Finds the last drain or resume.
CREATE INDEX draining ON events (seq) WHERE kind IN ('drained', 'resumed');

-- Finds who came from identity providers, what they were called there, and who was linked to an account.
CREATE INDEX introductions ON events (seq) WHERE kind IN ('introduced', 'linked');
