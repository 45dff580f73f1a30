/**
 * The process in which a worker runs test files; started by `vmtest fleet worker` and `vmtest run --workers`, never by hand.
 *
 * **Example** (How a worker starts it)
 *
 * ```sh
 * node dist/cli/FleetExecutor.js 4<>socket
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Backend } from "../backends/Backend.ts"
import type { BackendName } from "../backends/BackendName.ts"
import * as Executor from "../fleet/Executor.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import * as ImageStore from "../images/ImageStore.ts"
import * as Ending from "./Ending.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import * as Process from "./Process.ts"
import { complain, logOfTests } from "./Subcommand.ts"
import * as Telemetry from "./Telemetry.ts"

const found = (name: BackendName | undefined) =>
  Effect.scoped(Effect.provide(Effect.service(Backend), Host.backend(name)))

const state = Layer.effect(
  RunDirectory.RunDirectory,
  Effect.tap(RunDirectory.make(), ({ path }) => Ending.removeOnExit(path))
)

const served = Effect.gen(function* () {
  // That of machines that declare none, in runs that ask for none, is found before there is anything to run.
  const usual = yield* Effect.cached(found(undefined))
  yield* Effect.forkChild(Effect.ignore(usual))
  yield* Executor.serve({
    backend: ({ accel, backend }) => (accel === undefined && backend === undefined ? usual : found(backend)),
    onTask: Ending.enter("running")
  })
})

Process.run(
  served.pipe(
    // What the worker ends is no accident of a script.
    Effect.ensuring(Ending.enter("none")),
    Effect.provide(logOfTests(false)),
    Effect.provide(Layer.mergeAll(ImageStore.ImageStore.layer, state)),
    Effect.provide(Telemetry.layer("vmtest-executor")),
    Effect.as(ExitCode.passed),
    Effect.catch(({ message }) => Effect.as(complain(message), ExitCode.failed))
  )
)
