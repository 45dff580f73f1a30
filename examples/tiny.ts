import { Effect } from "effect"
import { Image, test } from "vmtest"

/** The smallest guest: busybox and a kernel. It boots in seconds. */
export default test("a tiny guest answers", { machines: { machine: { image: Image.tiny() } } }, ({ machine }) =>
  Effect.gen(function* () {
    const said = yield* machine.succeed("echo hello from $(hostname)")
    if (said !== "hello from machine\n") return yield* Effect.fail(`unexpected output: ${JSON.stringify(said)}`)
  })
)
