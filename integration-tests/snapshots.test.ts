import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Image from "../src/images/Image.ts"
import type { Machine as Guest } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

class Box extends Machine<Box>()("box", { image: Image.tiny(), memory: "256 MiB", disks: ["64 MiB"] }) {}

/** What no two guests may have in common. */
const drawn = (machine: Guest) => machine.succeed("cat /proc/sys/kernel/random/uuid")

/** Seconds that the guest's clock is away from the host's. */
const clockError = Effect.fnUntraced(function* (machine: Guest) {
  const said = yield* machine.succeed("date +%s")
  return Math.abs(Number(said) - Date.now() / 1000)
})

machines(Box)("a snapshot of a small guest", (it) => {
  it.effect("is gone back to: memory, files, a disk and processes are as they were, and the clock is right", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("echo before >/tmp/file; echo before | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
      yield* box.succeed(
        "i=0; while :; do i=$((i + 1)); echo $i >/tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.1; done >/dev/null 2>&1 & echo $! >/tmp/pid"
      )
      const snapshot = yield* box.snapshot("here")
      assert.deepStrictEqual([snapshot.name, snapshot.machine], ["here", "box"])
      const count = Number(yield* box.succeed("cat /tmp/count"))
      yield* box.succeed(
        "echo after >/tmp/file; rm -rf /root; kill $(cat /tmp/pid); echo after | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null"
      )
      const uuid = yield* drawn(box)
      for (const which of ["here", snapshot]) {
        yield* box.restore(which)
        assert.strictEqual(yield* box.succeed("cat /tmp/file; ls -d /root"), "before\n/root\n")
        assert.match(yield* box.succeed("head -c 6 /dev/vda"), /^before/)
        assert.notStrictEqual(yield* drawn(box), uuid)
        assert.isBelow(yield* clockError(box), 3)
        yield* box.succeed("kill -0 $(cat /tmp/pid)")
        const first = Number(yield* box.succeed("cat /tmp/count"))
        assert.isAtMost(Math.abs(first - count), 100)
        yield* box.succeed(`until [ $(cat /tmp/count) -gt ${first} ]; do sleep 0.1; done`, { timeout: "1 minute" })
        yield* box.succeed("echo spoilt >/tmp/file; dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null")
      }
      const error = yield* Effect.flip(box.restore("elsewhere"))
      assert.strictEqual(error._tag, "NoSuchSnapshot")
      assert.include(error.message, "it has here")
    })
  )

  it.effect("makes machines that see nothing of each other, and the first goes on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed(
        "mkdir -p /tmp/tmpfs; mount -t tmpfs none /tmp/tmpfs; echo all >/tmp/tmpfs/file; echo 0 >/tmp/own"
      )
      yield* box.succeed("echo shared | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
      const snapshot = yield* box.snapshot()
      const forks = yield* Effect.forEach([1, 2], () => box.fork({ from: snapshot }))
      assert.deepStrictEqual(
        forks.map(({ name }) => name),
        ["box-fork1", "box-fork2"]
      )
      const all = [box, ...forks]
      yield* Effect.forEach(all, (machine, index) =>
        machine
          .succeed(
            `cat /tmp/tmpfs/file; echo ${index} >/tmp/own; echo ${index} >/tmp/tmpfs/file; echo disk${index} | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null`
          )
          .pipe(Effect.map((said) => assert.strictEqual(said, "all\n")))
      )
      for (const [index, machine] of all.entries()) {
        assert.strictEqual(
          yield* machine.succeed("cat /tmp/own /tmp/tmpfs/file; head -c 5 /dev/vda"),
          `${index}\n${index}\ndisk${index}`
        )
        assert.strictEqual(yield* machine.succeed("hostname"), "box\n")
      }
      const late = yield* box.fork({ from: snapshot })
      assert.strictEqual(yield* late.succeed("cat /tmp/own /tmp/tmpfs/file; head -c 6 /dev/vda"), "0\nall\nshared")
      const ids = yield* Effect.forEach([...all, late], drawn)
      assert.strictEqual(new Set(ids).size, 4)
      yield* Effect.forEach([...forks, late], (machine) => machine.crash())
    })
  )

  it.effect("of a fork is as good as that of the first, and forks of forks go on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("echo 0 >/tmp/generation")
      let machine: Guest = box
      for (let generation = 1; generation <= 3; generation++) {
        const next: Guest = yield* machine.fork({ name: `generation${generation}` })
        assert.strictEqual(yield* next.succeed("cat /tmp/generation"), `${generation - 1}\n`)
        yield* next.succeed(
          `echo ${generation} >/tmp/generation; dd if=/dev/urandom of=/tmp/ballast${generation} bs=64k count=16 2>/dev/null`
        )
        machine = next
      }
      yield* machine.snapshot("deep")
      yield* machine.succeed("rm /tmp/ballast*")
      yield* machine.restore("deep")
      assert.strictEqual(yield* machine.succeed("ls /tmp | grep -c ballast; cat /tmp/generation"), "3\n3\n")
      assert.strictEqual(yield* box.succeed("cat /tmp/generation"), "0\n")
    })
  )

  it.effect("can be taken while commands run: they go on here, and end in a fork, which hears nothing of them", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const working = yield* Effect.forkChild(
        box.succeed(
          "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo from the source $i; sleep 0.1; done; touch /tmp/worked",
          { timeout: "2 minutes" }
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      const fork = yield* box.fork()
      for (const word of ["a", "b", "c"]) assert.strictEqual(yield* fork.succeed(`echo ${word}`), `${word}\n`)
      assert.strictEqual((yield* Fiber.join(working)).trim().split("\n").length, 40)
      yield* box.succeed("[ -e /tmp/worked ]")
      yield* fork.fail("sleep 5; [ -e /tmp/worked ]")
      yield* fork.crash()
    })
  )

  it.effect("can be taken of a paused machine, which stays paused, twice", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.pause()
      yield* box.snapshot("paused")
      const asked = yield* Effect.forkChild(
        box.succeed("echo awake; dd if=/dev/vda of=/dev/null count=1 2>/dev/null"),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      assert.isUndefined(asked.pollUnsafe())
      yield* box.snapshot("paused")
      const fork = yield* box.fork({ from: "paused" })
      assert.strictEqual(yield* fork.succeed("echo fork"), "fork\n")
      yield* fork.crash()
      yield* box.resume()
      assert.strictEqual(yield* Fiber.join(asked), "awake\n")
    })
  )
})
