/** A database that survives crashes, and its backups. Ported from NixOS's `postgresql` and `postgresql-backup` tests. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

/** The cluster that the package made when the image was built: the template for the one on the disk. */
const template = "/var/lib/postgresql/15/main"

/** A server with its data on a disk, which survives a crash of the machine; the rest of the guest does not. */
const server = `
[Unit]
RequiresMountsFor=/data

[Service]
Type=notify
User=postgres
RuntimeDirectory=postgresql
TimeoutStartSec=10min
ExecStartPre=+sh -c "[ -e /data/cluster ] || { cp -a ${template} /data/new && mv /data/new /data/cluster; }"
ExecStart=/usr/lib/postgresql/15/bin/postgres -D /data/cluster -c config_file=/etc/postgresql/15/main/postgresql.conf -c data_directory=/data/cluster
`

const backup = `
[Service]
Type=oneshot
User=postgres
UMask=0077
StateDirectory=backup
ExecStart=bash -c "set -o pipefail; pg_dumpall | gzip >/var/lib/backup/all.sql.gz"
`

const image = Image.debian({
  packages: ["postgresql"],
  files: { "/etc/fstab": "/dev/disk/by-id/virtio-disk1 /data ext4 x-systemd.makefs 0 0\n" },
  units: { "database.service": server, "backup.service": { text: backup, enabled: false } },
  users: { alice: {} },
  setup: "systemctl disable postgresql.service"
})

/** An extension, XML, and five rows. */
const schema = `
CREATE EXTENSION pgcrypto;
CREATE TABLE things (id int);
INSERT INTO things SELECT generate_series(1, 5);
CREATE TABLE documents (doc xml);
INSERT INTO documents (doc) VALUES ('<test>ok</test>');
`

const unit = "database.service"

export default test(
  "postgresql keeps its data",
  { machines: { machine: { image, memory: "384 MiB", disks: ["1 GiB"] } }, timeout: "15 minutes" },
  ({ machine }, driver) =>
    Effect.gen(function* () {
      const as = { user: "postgres", cwd: "/" }
      const sql = (statements: string) =>
        machine.succeed("psql -X -q -t -A -v ON_ERROR_STOP=1", { ...as, stdin: statements })
      const count = Effect.map(sql("SELECT count(*) FROM things"), Number)

      yield* machine.waitForUnit(unit)

      yield* driver.subtest("it answers as soon as its unit is active", sql(schema))

      yield* driver.subtest(
        "it gives known users access to their own tables only",
        Effect.gen(function* () {
          yield* machine.succeed("createuser alice", as)
          const alice = { user: "alice", cwd: "/" }
          assert.equal(yield* machine.succeed("psql -tAc 'SELECT 1' postgres", alice), "1\n")
          yield* machine.fail("psql -tAc 'SELECT * FROM things' postgres", alice)
          yield* machine.fail("psql -tAc 'SELECT 1' postgres", { user: "daemon", cwd: "/" })
        })
      )

      yield* driver.subtest(
        "it recovers from being killed",
        Effect.gen(function* () {
          yield* sql("INSERT INTO things SELECT generate_series(6, 1000)")
          yield* machine.succeed(`systemctl kill --signal=KILL ${unit}`)
          const failed = yield* Effect.flip(
            machine.waitForClosedPort(5432).pipe(Effect.andThen(machine.waitForUnit(unit)))
          )
          assert.equal(failed._tag, "UnitFailed")
          yield* machine.startJob(unit)
          assert.equal(yield* count, 1000)
        })
      )

      yield* driver.subtest(
        "it recovers from a power failure",
        Effect.gen(function* () {
          yield* sql("INSERT INTO things VALUES (1001)")
          yield* machine.crash()
          yield* machine.start()
          yield* machine.waitForUnit(unit)
          assert.equal(yield* count, 1001)
          assert.equal(yield* sql("SELECT xpath('/test/text()', doc) FROM documents"), "{ok}\n")
        })
      )

      yield* driver.subtest(
        "a backup restores",
        Effect.gen(function* () {
          yield* machine.startJob("backup.service")
          assert.equal(yield* machine.succeed("stat -c '%a %U' /var/lib/backup/all.sql.gz"), "600 postgres\n")
          yield* sql("DROP TABLE things; DROP TABLE documents; DROP EXTENSION pgcrypto")
          yield* machine.fail("psql -c 'SELECT * FROM things'", as)
          yield* machine.succeed("zcat /var/lib/backup/all.sql.gz | psql -q", as)
          assert.equal(yield* count, 1001)
        })
      )
    })
)
