/** A file server and two clients that share files and locks, and crash. Ported from NixOS's `nfs4` test. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"

/** The server's files and its record of the clients' locks are each on a disk, so they survive a crash. */
const fstab = `
/dev/disk/by-id/virtio-disk1 /srv/data ext4 noauto,x-systemd.makefs 0 0
/dev/disk/by-id/virtio-disk2 /var/lib/nfs/nfsdcld ext4 noauto,x-systemd.makefs 0 0
`

/** A client that is silent for 10 s loses its locks; a server that restarts gives its clients the same time to reclaim theirs. */
const settings = `
[nfsd]
vers3 = n
grace-time = 10
lease-time = 10
`

const image = Image.debian({
  packages: ["nfs-kernel-server", "nfs-common"],
  files: {
    "/etc/fstab": fstab,
    "/etc/exports": "/srv/data *(rw,no_root_squash,no_subtree_check,fsid=0)\n",
    "/etc/nfs.conf.d/test.conf": settings
  },
  // Version 4 needs no port mapper, and only one machine is a server.
  setup: "systemctl disable nfs-server nfs-blkmap && systemctl mask rpcbind.service rpcbind.socket"
})

const small = { image, memory: "256 MiB" } as const

const serve = Effect.fn(function* (server: Machine) {
  for (const unit of ["srv-data.mount", "var-lib-nfs-nfsdcld.mount", "nfs-server.service"]) yield* server.startJob(unit)
  yield* server.waitForOpenPort(2049)
})

const mount = (client: Machine) =>
  client.succeed("mkdir -p /data", "mount -t nfs4 -o hard,vers=4.2 server:/ /data", { timeout: "3 minutes" })

const hold = "flock --exclusive /data/lock -c 'touch /run/held; exec sleep infinity'"
const attempt = "flock --exclusive --nonblock /data/lock true"

export default test(
  "nfs clients share files and locks",
  {
    machines: { server: { ...small, disks: ["256 MiB", "64 MiB"] }, client1: small, client2: small },
    timeout: "20 minutes"
  },
  ({ client1, client2, server }, driver) =>
    Effect.gen(function* () {
      yield* serve(server)
      yield* driver.waitAll([client1, client2], mount)

      yield* driver.subtest(
        "all clients read what one writes",
        Effect.gen(function* () {
          yield* client1.writeFile("/data/greeting", "hello\n")
          assert.equal(yield* client2.readFile("/data/greeting"), "hello\n")
          assert.equal(yield* server.readFile("/srv/data/greeting"), "hello\n")
        })
      )

      yield* driver.subtest(
        "a lock of one client blocks the other",
        Effect.gen(function* () {
          yield* client2.succeed(attempt)
          yield* client1.spawn(hold)
          yield* client1.waitForFile("/run/held")
          yield* client2.fail(attempt)
        })
      )

      yield* driver.subtest(
        "when a client crashes, the other one gets its lock",
        Effect.gen(function* () {
          yield* client2.spawn(hold)
          yield* client1.crash()
          yield* client2.waitForFile("/run/held", { timeout: "3 minutes" })
        })
      )

      yield* driver.subtest(
        "a lock survives a crash of the server",
        Effect.gen(function* () {
          yield* client1.start()
          yield* mount(client1)
          yield* client1.fail(attempt)
          yield* server.crash()
          yield* server.start()
          yield* serve(server)
          // The server grants new locks only when the old ones have been reclaimed.
          yield* client1.succeed("echo again >>/data/greeting", { timeout: "3 minutes" })
          yield* client1.fail(attempt)
          assert.equal(yield* server.readFile("/srv/data/greeting"), "hello\nagain\n")
        })
      )

      yield* driver.subtest(
        "a client shuts down within a minute with its mount in use",
        client2.shutdown({ timeout: "1 minute" })
      )
    })
)
