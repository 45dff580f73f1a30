import { Effect } from "effect"
import type { Machine } from "vmtest"

export default ({ machine }: Record<"machine", Machine>) =>
  Effect.gen(function* () {
    const said = yield* machine.succeed("echo hello")
    if (said !== "hello\n") return yield* Effect.fail(`echo said ${JSON.stringify(said)}`)

    const { exitCode, stderr } = yield* machine.execute("echo on standard error >&2; exit 3")
    if (exitCode !== 3 || stderr !== "on standard error\n") return yield* Effect.fail("a command was not told apart")
  })
