/** Firecrackers in jails: they boot, are saved and forked as others are, and each is another user with a root folder of its own. */
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"
import { hypervisors } from "./place.ts"

const jailed = (uid: number) =>
  ({
    image: Image.tiny(),
    memory: "128 MiB",
    disks: ["8 MiB"],
    vlans: ["lan"],
    backend: { name: "firecracker", jailer: { uid, gid: uid } }
  }) as const

const said = (machine: Machine, command: string) => Effect.map(machine.succeed(command), (text) => text.trim())

/** The users of all Firecrackers that run, each of which sees only its jail. */
const users = () =>
  hypervisors("firecracker").map(({ pid }) => {
    assert.ok(readdirSync(`/proc/${pid}/root/`).includes("v.sock"))
    assert.ok(!readdirSync(`/proc/${pid}/root/`).includes("etc"))
    return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
  })

export default test(
  "firecracker: guests in jails",
  {
    machines: { a: jailed(4001), b: jailed(4002) },
    networks: { lan: { fabric: "bridge" } },
    timeout: "30 minutes"
  },
  ({ a, b }, driver) =>
    Effect.gen(function* () {
      const mounts = readFileSync("/proc/self/mountinfo", "utf8")
      assert.deepEqual(users().sort(), [4001, 4002])
      yield* driver.subtest(
        "run commands, and reach each other",
        Effect.gen(function* () {
          assert.equal(yield* said(a, "hostname"), "a")
          yield* a.succeed("ping -c 2 -w 20 b")
        })
      )
      yield* driver.subtest(
        "stand still and go on",
        Effect.gen(function* () {
          yield* b.pause()
          yield* b.resume()
          assert.equal(yield* said(b, "echo awake"), "awake")
        })
      )
      yield* driver.subtest(
        "are saved, go back, and are forked",
        Effect.gen(function* () {
          yield* a.succeed("echo before >/tmp/file; echo before | dd of=/dev/vdb bs=512 conv=sync,fsync 2>&1")
          yield* a.snapshot("here")
          yield* a.succeed("echo after >/tmp/file; dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>&1")
          const fork = yield* a.fork({ from: "here", identity: true })
          assert.equal(yield* said(fork, "cat /tmp/file"), "before")
          assert.match(yield* fork.succeed("head -c 6 /dev/vdb"), /^before/)
          assert.equal(yield* said(a, "cat /tmp/file"), "after")
          yield* fork.succeed("ping -c 1 -w 20 a")
          assert.deepEqual(users().sort(), [4001, 4001, 4002])
          yield* fork.crash()
          yield* a.restore("here")
          assert.equal(yield* said(a, "cat /tmp/file"), "before")
        })
      )
      yield* driver.subtest(
        "leave no mount",
        Effect.sync(() => assert.equal(readFileSync("/proc/self/mountinfo", "utf8"), mounts))
      )
    })
)
