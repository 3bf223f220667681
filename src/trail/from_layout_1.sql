-- What layout 1 had in the place of `last` and `links` is an index, and `finding.sql` has made the tables. The events stay
-- as they are.

INSERT INTO grants (seq, id, requester, key, groups, open, last)
SELECT seq, id, requester, key, groups, open,
    coalesce((SELECT max(events.seq) FROM events WHERE grant_id = id), 0)
FROM grants_of_layout_1
ORDER BY seq;

INSERT INTO links (seq, before)
SELECT seq, before FROM (
    SELECT seq, (
        SELECT max(earlier.seq) FROM events AS earlier
        WHERE earlier.grant_id = events.grant_id AND earlier.seq < events.seq
    ) AS before
    FROM events
)
WHERE before IS NOT NULL
ORDER BY seq;

DROP TABLE grants_of_layout_1;
DROP INDEX events_of_grant;
