-- Sets a MariaDB server up for Assent: the table of receipts, the agent's user and the rights. Run it as root, once a
-- server; running it again changes nothing.
--
--   mariadb --init-command="SET @applications = 'app, billing', @databases = 'bank'" < setup-mariadb.sql
--
-- Variables, all of them text:
--   agent         the agent's user, as in GRANT                              [assent_agent@localhost]
--   applications  users that prepare branches on their own connections,
--                 as in GRANT, with commas                                   [none]
--   databases     databases in which applications send statements through
--                 the agent, with commas                                     [none]
--
-- The agent's user is made without a password: ALTER USER … IDENTIFIED BY, or unix_socket, gives it one.
--
-- Receipts. A branch writes a row as its last statement before XA PREPARE, so everybody sees the row if and only if the
-- branch is committed: it is the proof of its outcome. Never delete rows by hand; the agent does, when they are old
-- (its setting receipts). The row with the empty gid tells how far it has come. Their age is the server's own time:
-- the server must not run with sysdate-is-now, or an application's SET timestamp makes a receipt old.
--
-- PROCESS lets the agent see whether the session that prepared a branch is gone. XA RECOVER, XA COMMIT and XA ROLLBACK
-- need no right in MariaDB: whoever can log in can list and finish any branch.

SET @agent = COALESCE(@agent, 'assent_agent@localhost');
SET @applications = COALESCE(@applications, '');
SET @databases = COALESCE(@databases, '');

CREATE DATABASE IF NOT EXISTS assent;
CREATE TABLE IF NOT EXISTS assent.receipt (
    gid VARBINARY(64) NOT NULL PRIMARY KEY, -- gtrid and bqual
    thread BIGINT UNSIGNED NOT NULL,        -- the session that wrote it
    at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    KEY (at)
) ENGINE = InnoDB;

DELIMITER //
BEGIN NOT ATOMIC
    DECLARE rest TEXT DEFAULT @databases;
    EXECUTE IMMEDIATE CONCAT('CREATE USER IF NOT EXISTS ', @agent);
    EXECUTE IMMEDIATE CONCAT('GRANT PROCESS ON *.* TO ', @agent);
    EXECUTE IMMEDIATE CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE ON assent.receipt TO ', @agent);
    IF @applications <> '' THEN
        EXECUTE IMMEDIATE CONCAT('GRANT SELECT, INSERT ON assent.receipt TO ', @applications);
    END IF;
    WHILE rest <> '' DO
        EXECUTE IMMEDIATE CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE, CREATE TEMPORARY TABLES ON `', TRIM(SUBSTRING_INDEX(rest, ',', 1)),
                                 '`.* TO ', @agent);
        SET rest = IF(LOCATE(',', rest) = 0, '', SUBSTRING(rest, LOCATE(',', rest) + 1));
    END WHILE;
END //
DELIMITER ;

-- Prepared branches survive a crash only if every commit is forced to the disk.
SELECT CASE
           WHEN @@innodb_flush_log_at_trx_commit <> 1 THEN 'set innodb_flush_log_at_trx_commit = 1'
           WHEN @@log_bin AND @@sync_binlog <> 1 THEN 'set sync_binlog = 1'
           ELSE 'ready'
       END AS next;
