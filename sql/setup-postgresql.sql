-- Sets a PostgreSQL server up for Assent: the agent's role and its rights, and in the database that psql is
-- connected to a function for the agent. Run it as a superuser, once in each database that is a resource; running
-- it again changes nothing but what its variables say.
--
--   psql -d bank -v applications=app,billing -f setup-postgresql.sql
--
-- Variables:
--   agent         name of the agent's role                              [assent_agent]
--   applications  roles that prepare transactions, with commas          [none]
--   inherit       on: statements that applications send through the agent run with the applications' rights;
--                 off: the agent only finishes what is prepared
--                                                                        [on for a new role, else as it is]
--
-- Who may finish a prepared transaction: the role that prepared it, or a superuser; a member of that role must
-- first become it by SET ROLE (PostgreSQL manual, «COMMIT PREPARED»). So the agent's role is made a member of every
-- application's role, and needs to be no superuser. What the agent prepares itself, for remote branches, is its own.
--
-- The role gets no password here. Give it one with \password, and put it into ~/.pgpass of the agent's user, or
-- allow the role by another method in pg_hba.conf (peer, cert, scram-sha-256).

\set ON_ERROR_STOP on
\if :{?agent}
\else
    \set agent assent_agent
\endif
\if :{?applications}
\else
    \set applications ''
\endif
-- What a role had before stays as it is, unless it is said here.
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'agent') AS set_inherit,
       current_setting('server_version_num')::int >= 160000 AS membership_options
\gset
\if :{?inherit}
    \set set_inherit on
\else
    \set inherit on
\endif

-- The role. LOGIN and nothing else.
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', :'agent')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'agent')
\gexec
SELECT format('ALTER ROLE %I %s', :'agent', CASE WHEN :'inherit'::boolean THEN 'INHERIT' ELSE 'NOINHERIT' END)
WHERE :'set_inherit'::boolean
\gexec

-- To finish what these roles prepare.
SELECT format('GRANT %I TO %I', trim(a), :'agent')
FROM unnest(string_to_array(:'applications', ',')) AS a
WHERE trim(a) <> ''
\gexec

-- From PostgreSQL 16 on each membership has its own options, and that of the role only says what new ones get.
\if :membership_options
    SELECT format('GRANT %I TO %I WITH INHERIT %s, SET TRUE', r.rolname, :'agent', (:'inherit'::boolean)::text)
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member
    WHERE a.rolname = :'agent' AND NOT starts_with(r.rolname, 'pg_') AND :'set_inherit'::boolean
    \gexec
\endif

-- To show an operator who waits for a branch in doubt, with the query. Nothing else depends on it.
SELECT format('GRANT pg_read_all_stats TO %I%s', :'agent',
              CASE WHEN :'membership_options'::boolean THEN ' WITH INHERIT TRUE' ELSE '' END)
\gexec

-- After a failover: where the timeline of the server that answers now left the one before it. So the agent can tell a
-- branch that is lost from one that was finished. The file itself needs rights that the agent should not have.
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS assent;
CREATE OR REPLACE FUNCTION assent.timeline_history() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT pg_read_file('pg_wal/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '.history')
    $$;
RESET client_min_messages;
REVOKE ALL ON FUNCTION assent.timeline_history() FROM PUBLIC;
SELECT format('GRANT USAGE ON SCHEMA assent TO %I', :'agent')
\gexec
SELECT format('GRANT EXECUTE ON FUNCTION assent.timeline_history() TO %I', :'agent')
\gexec

-- Transactions can be prepared only where there are slots for them: at least as many as connections commit at the
-- same time. Changing it takes a restart; a standby needs at least as many as its primary.
SELECT CASE
           WHEN setting::int = 0 THEN
               'max_prepared_transactions is 0: ALTER SYSTEM SET max_prepared_transactions = 200, then restart'
           ELSE 'max_prepared_transactions is ' || setting
       END AS "next"
FROM pg_settings
WHERE name = 'max_prepared_transactions';
