/**
 * `vmtest repl [SCRIPT]`, and `vmtest run -i SCRIPT`: a session on the machines of a test, instead of running it.
 *
 * The machines start at their first use. `.restart` reads the script again, and gives the session new machines.
 *
 * **Example** (Try commands before they are in a test)
 *
 * ```sh
 * vmtest repl web.ts
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Qemu from "../backends/qemu/Qemu.ts"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import * as Selection from "../driver/Selection.ts"
import * as SharedMachines from "../driver/SharedMachines.ts"
import type { TestCase, TestServices } from "../driver/TestCase.ts"
import * as Tests from "../driver/TestCase.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation, RunOptions } from "./CommandLine.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import * as SessionOptions from "./internal/sessionOptions.ts"
import * as Settings from "./internal/settings.ts"
import { beside } from "./Prompt.ts"
import * as Run from "./Run.ts"
import { complain, type Work } from "./Subcommand.ts"
import * as Attachable from "./session/Attachable.ts"
import * as Session from "./session/Session.ts"

/** What a session is opened on, as the command line gives it. `vmtest run -i` has more options than `vmtest repl`. */
export interface ReplOptions
  extends Omit<Extract<Invocation, { readonly _tag: "Repl" }>, "_tag">,
    Partial<Pick<Extract<Invocation, { readonly _tag: "Run" }>, "logLevel" | "seed" | "updateReferences">> {}

/** A session cannot be opened on a script; `reason` says why. */
export class NoSession extends Schema.TaggedError<NoSession>()("NoSession", {
  script: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.script}: ${this.reason}`
  }
}

/** The one test of the script. */
const load = Effect.fnUntraced(function* (
  { machineConfig, machines, names, script }: ReplOptions,
  { config, digest, file }: ConfigFile.Read
) {
  if (script === undefined) return Tests.test("repl", {}, () => Effect.void)
  const given = yield* Run.givenBy(machineConfig ?? config.machineConfig)
  const loaded = yield* Run.load({ module: machines, given })(script)
  const all =
    file === undefined ? loaded : SharedMachines.resolve(loaded, config.machines ?? {}, { from: file, digest })
  const matches = yield* Selection.grep(names)
  const chosen = Selection.focused(all).filter(matches)
  const [only, ...others] = chosen
  const list = (tests: ReadonlyArray<TestCase>) => tests.map(({ name }) => JSON.stringify(name)).join(", ")
  if (only === undefined)
    return yield* new NoSession({ script, reason: `no test matches --grep ${names.join(" or ")}; it has ${list(all)}` })
  if (others.length > 0)
    return yield* new NoSession({ script, reason: `it has several tests; choose one with --grep: ${list(chosen)}` })
  return only
})

/** What a session is on, and how to end it. */
interface Running {
  readonly test: TestCase
  readonly live: Session.Live
  readonly machines: Parameters<TestCase["body"]>[0]
  /** Ends the machines, and waits for that. */
  readonly end: Effect.Effect<void>
}

/** A session is not reported as a test; what goes wrong with its machines is. */
const isReported = (event: RunEvent): boolean =>
  event._tag !== "TestStarted" && (event._tag !== "TestEnded" || event.result.failure !== undefined)

/** Makes the machines of a test, which do not run yet. */
const begin = Effect.fnUntraced(function* (test: TestCase, options: RunOptions) {
  const ready = Deferred.makeUnsafe<Omit<Running, "end">, NoSession>()
  const over = Deferred.makeUnsafe<void>()
  const session: TestCase = {
    ...test,
    machines: Object.fromEntries(
      Object.entries(test.machines).map(([name, declared]) => [name, { ...declared, autoStart: false }])
    ),
    timeout: Duration.infinity,
    unrun: "ignore",
    // A mistake in the body is met when it is run.
    source: undefined,
    body: (machines, driver) =>
      Effect.gen(function* () {
        const context = yield* Effect.context<TestServices>()
        yield* Deferred.succeed(ready, { test, machines, live: { driver, context } })
        yield* Deferred.await(over)
      })
  }
  const failed = (reason: string) => Deferred.fail(ready, new NoSession({ script: test.file ?? test.name, reason }))
  const running = yield* Host.runTestsIn([session], { jobs: 1, options }).pipe(
    Effect.tap(([result]) => failed(result?.failure?.message ?? "the session has ended")),
    Effect.tapCause((cause) => failed(Cause.pretty(cause))),
    Effect.ignore,
    Effect.forkScoped
  )
  const end = Effect.andThen(Deferred.succeed(over, undefined), Effect.asVoid(Fiber.await(running)))
  return { ...(yield* Deferred.await(ready)), end } satisfies Running
})

/** Runs the body of the test, as `vmtest run` does, on machines that may be running already. */
const runBody = ({ live, machines, test }: Running): Effect.Effect<unknown, unknown, TestServices> =>
  Effect.gen(function* () {
    const starting = Object.entries(test.machines).filter(([, { autoStart }]) => autoStart !== false)
    yield* Effect.forEach(starting, ([name]) => machines[name]?.start() ?? Effect.void, {
      concurrency: "unbounded",
      discard: true
    })
    return yield* Effect.scoped(test.body(machines, live.driver))
  })

const described = (machines: ReadonlyArray<string>) =>
  machines.length === 0 ? "no machines" : `machines: ${machines.map(Session.nameOf).join(", ")}`

const session = Effect.fnUntraced(function* (given: ReplOptions, read: ConfigFile.Read, options: RunOptions) {
  const { script } = given
  let current: Running = yield* begin(yield* load(given, read), options)
  const restart = Effect.gen(function* () {
    const test = yield* load(given, read)
    yield* current.end
    current = yield* begin(test, options)
    return described(Object.keys(current.machines))
  })
  const context = yield* Effect.context<Effect.Services<typeof restart>>()
  const opened: Session.SessionOptions = {
    live: () => current.live,
    restart: Effect.provideContext(restart, context),
    ...(script === undefined ? {} : { test: () => runBody(current) })
  }
  const name = script ?? "repl"
  yield* Attachable.add({
    ...{ name, kind: "interactive" },
    join: (seat) =>
      Session.open({ ...opened, seat, detaches: true }).pipe(
        Effect.map(({ failures }) => ({ failures, reason: "detached" })),
        Effect.catch(() => Effect.succeed({ failures: 1, reason: "detached" }))
      )
  })
  const machines = Object.keys(current.machines)
  const start = machines.length === 0 ? "" : ", which start at their first use"
  yield* complain(`${described(machines)}${start}; .help lists commands, .exit leaves`)
  const left = yield* Session.open(opened).pipe(
    Effect.catchTag("UnfinishedStatement", ({ message }) => Effect.as(complain(message), { failures: 1 }))
  )
  yield* current.end
  // At a terminal the user has seen them.
  return process.stdin.isTTY === true || left.failures === 0 ? ExitCode.passed : ExitCode.failed
}, Effect.scoped)

const inConfig = Effect.fnUntraced(function* (given: ReplOptions) {
  const read = yield* ConfigFile.read(given.config)
  const options = Settings.optionsOf(given.options, read.config)
  const { accel = read.config.accel, logLevel = read.config.logLevel, seed = read.config.seed } = given
  const around = { options, accel, logLevel, seed, updateReferences: given.updateReferences ?? false }
  return yield* session(given, read, options).pipe(
    Effect.provideService(Qemu.Viewable, true),
    Effect.updateService(Reporter, (report) => (event) => (isReported(event) ? beside(report(event)) : Effect.void)),
    Host.withState(options),
    Run.inSettings({ ...around, globalTimeout: undefined }),
    Effect.provide(TerminalReport.layer(options))
  )
})

/** Opens a session. Exit code 1 if a line from a pipe failed or was not finished; 2 for a script that cannot be used. */
export const open = (given: ReplOptions): Work =>
  inConfig(given).pipe(Effect.catch((error) => Effect.as(complain(Run.described(error)), ExitCode.unusable)))

/** `vmtest run`: a session with `--interactive`, else the run. */
export const orRun = (invocation: Extract<Invocation, { readonly _tag: "Run" }>): Work => {
  const { accel, config, interactive, machineConfig, machines, names, options, scripts } = invocation
  if (!interactive) return Run.run(invocation)
  const refused = SessionOptions.refusal(invocation)
  if (refused !== undefined) return Effect.as(complain(refused), ExitCode.unusable)
  const { logLevel, seed, updateReferences } = invocation
  const [script, ...others] = scripts
  const given = { config, names, machines, machineConfig, accel, options, logLevel, seed, updateReferences }
  return script !== undefined && others.length === 0
    ? open({ script, ...given })
    : Effect.as(complain("--interactive needs one script; without one, use vmtest repl"), ExitCode.unusable)
}

/** `vmtest repl`. */
export const repl = ({ _tag: _, ...given }: Extract<Invocation, { readonly _tag: "Repl" }>): Work => open(given)
