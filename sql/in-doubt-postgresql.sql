-- Branches in doubt in PostgreSQL, to be looked at by hand; changes nothing. Run it in the database in question.
--
--   psql -d bank -f in-doubt-postgresql.sql
--
-- A branch is called assent-<group>-<session>-<sequence>-<nonce>-<branch>; everything between «assent-» and the last
-- «-» is the transaction, as txadmin takes it. First ask the coordinator what it knows:
--
--   txadmin show <transaction>
--
-- and leave the branch to the agent wherever it can do its work. By hand, as the last resort, and only with the
-- verdict that txadmin shows (the branch in another database may have got it already):
--
--   COMMIT PREPARED 'assent-…'      or      ROLLBACK PREPARED 'assent-…'
--
-- The agent then reports what it finds, and a deviation from the decision as a heuristic outcome.

\echo 'Prepared here, oldest first'
SELECT gid, owner, date_trunc('second', clock_timestamp() - prepared) AS age, transaction AS xid
FROM pg_prepared_xacts
WHERE database = current_database() AND starts_with(gid, 'assent-')
ORDER BY prepared
LIMIT 100;

\echo 'By coordinator group; a group that no agent works for any more is an orphan'
SELECT database, substring(gid FROM '^assent-([0-9a-f]{16})-') AS "group", count(*),
       date_trunc('second', max(clock_timestamp() - prepared)) AS oldest
FROM pg_prepared_xacts
WHERE starts_with(gid, 'assent-')
GROUP BY 1, 2
ORDER BY 1, 2;

\echo 'What they lock'
-- The locks of a prepared transaction have no pid; its transactionid lock leads to the others.
SELECT p.gid, l.locktype, l.relation::regclass AS relation, l.mode, count(*)
FROM pg_prepared_xacts p
JOIN pg_locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL
JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL
WHERE p.database = current_database() AND starts_with(p.gid, 'assent-')
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3
LIMIT 200;

\echo 'Sessions that wait for a prepared transaction'
SELECT pid, usename, application_name, clock_timestamp() - state_change AS waiting, left(query, 80) AS query
FROM pg_stat_activity
WHERE 0 = ANY (pg_blocking_pids(pid))
ORDER BY state_change
LIMIT 100;

\echo 'Slots'
SELECT (SELECT count(*) FROM pg_prepared_xacts) AS used, current_setting('max_prepared_transactions') AS of;
