-- The roles of a fleet, and what each may do. Run it as the owner of the database, after vmtest has made its tables
-- ("vmtest fleet status" makes them), and again after an update of vmtest:
--
--   vmtest fleet status --url postgres://OWNER@HOST/vmtest
--   psql -f fleet-roles.sql postgres://OWNER@HOST/vmtest
--   psql -c "CREATE USER ci PASSWORD '…' IN ROLE vmtest_submit" postgres://OWNER@HOST/vmtest
--   psql -c "CREATE USER builder1 PASSWORD '…' IN ROLE vmtest_work" postgres://OWNER@HOST/vmtest
--
-- vmtest_submit: clients, which offer runs, watch them and cancel them. Who may submit runs code on every worker.
-- vmtest_work: workers, which take jobs and report what they came to.
-- Roles with neither cannot connect.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vmtest_submit') THEN CREATE ROLE vmtest_submit NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vmtest_work') THEN CREATE ROLE vmtest_work NOLOGIN; END IF;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO vmtest_submit, vmtest_work', current_database());
END $$;

REVOKE ALL ON SCHEMA vmtest FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA vmtest FROM PUBLIC, vmtest_submit, vmtest_work;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vmtest FROM PUBLIC, vmtest_submit, vmtest_work;

GRANT USAGE ON SCHEMA vmtest TO vmtest_submit, vmtest_work;
GRANT SELECT ON ALL TABLES IN SCHEMA vmtest TO vmtest_submit, vmtest_work;

-- Clients offer runs, jobs and files, and end or cancel runs. They cannot write results or events.
GRANT INSERT ON vmtest.run, vmtest.blob, vmtest.blob_head, vmtest.blob_use TO vmtest_submit;
GRANT INSERT (id, run, queue, element) ON vmtest.job TO vmtest_submit;
GRANT UPDATE (state, ended_at) ON vmtest.run, vmtest.job TO vmtest_submit;
GRANT USAGE ON SEQUENCE vmtest.job_seq_seq TO vmtest_submit;

-- Workers take jobs, report what happens, and tidy up. They cannot offer jobs.
GRANT UPDATE (state, attempt, losses, worker, leased_until, events, outcome, failure, ended_at) ON vmtest.job TO vmtest_work;
GRANT INSERT ON vmtest.event, vmtest.blob, vmtest.blob_head, vmtest.blob_use TO vmtest_work;
GRANT INSERT, UPDATE, DELETE ON vmtest.worker TO vmtest_work;
-- Also runs that ended long ago, but none that ended within a day.
GRANT EXECUTE ON FUNCTION vmtest.expire(interval) TO vmtest_work;
