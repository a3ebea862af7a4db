-- Branches in doubt in MariaDB, to be looked at by hand; changes nothing. Run it as root.
--
--   mariadb -t < in-doubt-mariadb.sql
--
-- A branch is a row of XA RECOVER with formatID 1095979860. Its gtrid holds group, session, sequence and nonce of the
-- transaction, 8 bytes each; its bqual the branch's number. txadmin takes the transaction as
--
--   <group, 16 hex digits>-<session>-<sequence>-<nonce, 16 hex digits>
--
-- which the second query prints. First ask the coordinator what it knows:
--
--   txadmin show <transaction>
--
-- and leave the branch to the agent wherever it can do its work. By hand, as the last resort, and only with the verdict
-- that txadmin shows (the branch in another database may have got it already):
--
--   XA COMMIT X'…',X'…',1095979860      or      XA ROLLBACK X'…',X'…',1095979860
--
-- as the first query prints it, and not before the session that prepared it (column thread) has been gone from the
-- process list for a moment: XA COMMIT that races with its end can answer OK and commit nothing. Then see that the
-- receipt is there (last query): that, and not OK, says that the branch is committed. A branch that is in no list and
-- keeps its locks comes back with a restart of the server.

SELECT 'Prepared in the whole server' AS '';
XA RECOVER FORMAT = 'SQL';

SELECT 'Receipts of branches that are not committed: open, prepared or, without a thread and a row above, lost' AS '';
CREATE TEMPORARY TABLE IF NOT EXISTS assent.committed (gid VARBINARY(64) NOT NULL PRIMARY KEY) ENGINE = InnoDB;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
INSERT IGNORE INTO assent.committed SELECT gid FROM assent.receipt WHERE at > NOW() - INTERVAL 7 DAY;
SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT CONCAT(LOWER(HEX(SUBSTRING(r.gid, 1, 8))), '-', CONV(HEX(SUBSTRING(r.gid, 9, 8)), 16, 10), '-',
              CONV(HEX(SUBSTRING(r.gid, 17, 8)), 16, 10), '-', LOWER(HEX(SUBSTRING(r.gid, 25, 8)))) AS transaction,
       CONV(HEX(SUBSTRING(r.gid, 33, 2)), 16, 10) AS branch, r.at, r.thread, p.USER AS connected_as
FROM assent.receipt r
LEFT JOIN assent.committed c ON c.gid = r.gid
LEFT JOIN information_schema.PROCESSLIST p ON p.ID = r.thread
WHERE c.gid IS NULL AND r.gid <> '' AND r.at > NOW() - INTERVAL 7 DAY
ORDER BY r.at
LIMIT 100;
DROP TEMPORARY TABLE assent.committed;

SELECT 'Sessions that wait for a branch without a session, and for which table' AS '';
SELECT t.trx_mysql_thread_id AS thread, p.USER AS user, TIMEDIFF(NOW(), t.trx_wait_started) AS waiting,
       l.lock_table, l.lock_mode, LEFT(t.trx_query, 80) AS query
FROM information_schema.INNODB_LOCK_WAITS w
JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id
JOIN information_schema.INNODB_TRX t ON t.trx_id = w.requesting_trx_id
JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.blocking_lock_id
LEFT JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
WHERE b.trx_mysql_thread_id = 0
LIMIT 100;

SELECT 'Newest committed receipts' AS '';
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SELECT LOWER(HEX(gid)) AS receipt, at FROM assent.receipt WHERE gid <> '' ORDER BY at DESC LIMIT 10;
