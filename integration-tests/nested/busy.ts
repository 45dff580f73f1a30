/** A test that has everything that a run can leave, makes a file to tell that, and waits to be killed: see `cleanup.ts`. */
import { writeFileSync } from "node:fs"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const tiny = { image: Image.tiny(), memory: "128 MiB", vlans: ["lan"], disks: ["8 MiB"] } as const

export default test(
  "busy",
  { machines: { a: tiny, b: tiny }, networks: { lan: { fabric: "bridge" } }, timeout: "20 minutes" },
  ({ a, b }) =>
    Effect.gen(function* () {
      yield* a.snapshot("here")
      yield* a.fork({ from: "here" })
      yield* a.succeed("ping -c 1 -w 20 b")
      yield* Effect.forkChild(b.succeed("sleep 1000"), { startImmediately: true })
      yield* b.pause()
      writeFileSync(process.env.VMTEST_NESTED_MARK ?? "", "busy")
      yield* Effect.never
    })
)
