/** A machine as a service of a larger Effect application. Run it with `node layer.ts` in a project that has vmtest installed. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect } from "effect"
import { DriverLayer, Image } from "vmtest"

class Web extends DriverLayer.Machine<Web>()("web", { image: Image.tiny() }) {}

const program = Effect.gen(function* () {
  const web = yield* Web
  yield* Effect.log(yield* web.succeed("uname -sr"))
})

program.pipe(Effect.provide(Web.layer), Effect.provide(DriverLayer.layer()), NodeRuntime.runMain)
