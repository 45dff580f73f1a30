/** The programs that are recorded and run against recordings, and how what comes of them is written down. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection } from "../../src/transport/Connection.ts"
import * as Qmp from "../../src/transport/qmp/Qmp.ts"
import * as QmpCommands from "../../src/transport/qmp/QmpCommands.ts"
import * as Shell from "../../src/transport/Shell.ts"
import type { ShellError } from "../../src/transport/ShellError.ts"
import type { TransportService } from "../../src/transport/Transport.ts"

/** What came of a step: an answer, or the tag of an error with whom and what it names. */
export type Outcome =
  | { readonly answer: unknown }
  | { readonly error: string; readonly machine: string; readonly command: string; readonly reason: string }

/** An outcome, and the milliseconds to it. */
export interface Timed {
  readonly outcome: Outcome
  readonly took: number
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1")

const failed = (error: ShellError | Qmp.QmpFailure): Outcome => ({
  error: error._tag,
  machine: error.machine,
  command: "command" in error ? (error.command ?? "") : "",
  reason: "reason" in error ? error.reason : "class" in error ? error.class : ""
})

const timed = <A>(step: Effect.Effect<A, ShellError | Qmp.QmpFailure>): Effect.Effect<Timed> =>
  Effect.match(step, { onFailure: failed, onSuccess: (answer): Outcome => ({ answer }) }).pipe(
    Effect.timed,
    Effect.map(([took, outcome]) => ({ outcome, took: Duration.toMillis(took) }))
  )

/** How long each command of the session may run. */
export const commandTimeout = "5 seconds"

/** One step of the shell session. */
export interface Step {
  readonly name: string
  readonly run: (shell: Shell.ShellService) => Effect.Effect<unknown, ShellError>
}

const execute = (command: string, options: Shell.ExecuteOptions = {}): Step => ({
  name: command.slice(0, 40),
  run: (shell) =>
    Effect.map(
      shell.executeBytes(command, { timeout: commandTimeout, ...options }),
      ({ exitCode, stderr, stdout }) => ({ exitCode, stdout: latin1(stdout), stderr: latin1(stderr) })
    )
})

const errorOf = (one: Timed | undefined) => (one !== undefined && "error" in one.outcome ? one.outcome.error : "")

/** One of everything that a shell can be asked for. */
export const shellSteps: ReadonlyArray<Step> = [
  execute("echo out; echo err >&2; exit 7"),
  execute("cat; printf 'gr\\303\\274\\303\\237e\\036\\377\\000' >&2", { stdin: "one\ntwo" }),
  execute("pwd", { cwd: "/no/such/folder" }),
  execute('echo "$A"; pwd', { cwd: "/tmp", env: { A: "it's" } }),
  execute("true", { user: "nobody-of-this-name" }),
  execute(`: '${"x".repeat(20_000)}'; echo long`),
  execute("wc -c | tr -d ' '", { stdin: new Uint8Array(70_000) }),
  execute("(sleep 0.2; echo late) & echo early; exit 3"),
  {
    name: "a stream",
    run: (shell) =>
      shell.executeStream("printf abc; printf def >&2; exit 9", { timeout: commandTimeout }).pipe(
        Stream.runCollect,
        Effect.map((events) => {
          const all = (tag: "Stdout" | "Stderr") =>
            events.map((event) => (event._tag === tag ? latin1(event.bytes) : "")).join("")
          const last = events.at(-1)
          return {
            exitCode: last?._tag === "Exit" ? last.exitCode : "none",
            stdout: all("Stdout"),
            stderr: all("Stderr")
          }
        })
      )
  },
  {
    name: "a handle",
    run: (shell) =>
      Effect.scoped(
        Effect.gen(function* () {
          const cat = yield* shell.spawn("cat; exit 5", { timeout: commandTimeout })
          const stdout = yield* Effect.forkChild(Stream.runCollect(cat.stdout), { startImmediately: true })
          const stderr = yield* Effect.forkChild(Stream.runCollect(cat.stderr), { startImmediately: true })
          yield* cat.write("to and fro")
          yield* cat.end
          const exitCode = yield* cat.wait
          const text = (fiber: typeof stdout) =>
            Effect.map(Fiber.join(fiber), (chunks) => chunks.map((chunk) => latin1(chunk)).join(""))
          return { exitCode, stdout: yield* text(stdout), stderr: yield* text(stderr) }
        })
      )
  },
  execute("true")
]

/** Runs the shell session; every step has an outcome, until the guest is gone. */
export const shellSession = (transport: TransportService): Effect.Effect<ReadonlyArray<Timed>> =>
  Effect.gen(function* () {
    const shell = yield* Shell.fromTransport(transport, {
      bootTimeout: "10 seconds",
      consoleTail: Effect.succeed("last words")
    })
    const outcomes: Array<Timed> = []
    for (const { run } of shellSteps) {
      outcomes.push(yield* timed(run(shell)))
      // A guest that is gone stays gone.
      if (errorOf(outcomes.at(-1)) === "ShellNotReady") break
    }
    return outcomes
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => Effect.succeed([{ outcome: failed(error), took: 0 }])),
    Effect.provideService(Shell.BootProgressListener, () => Effect.void)
  )

const Stopped = Schema.Struct({ event: Schema.Literal("STOP") })

/** Runs the QMP session. */
export const qmpSession = (
  connect: Effect.Effect<Connection, never, Scope.Scope>
): Effect.Effect<ReadonlyArray<Timed>> =>
  Effect.gen(function* () {
    const qmp = yield* Qmp.fromConnection(yield* connect, { machine: "vm" })
    const stopped = yield* Effect.forkChild(timed(qmp.waitForEvent(Stopped)), { startImmediately: true })
    const steps: ReadonlyArray<Effect.Effect<unknown, Qmp.QmpFailure>> = [
      Effect.succeed(qmp.version),
      QmpCommands.queryStatus(qmp),
      QmpCommands.stop(qmp),
      QmpCommands.queryStatus(qmp),
      QmpCommands.cont(qmp),
      qmp.execute("no-such-command"),
      qmp.hmp("info status"),
      qmp.hmp("no such line"),
      qmp.execute("query-name", undefined, Schema.Struct({ name: Schema.Int })),
      qmp.execute("query-kvm", undefined, Schema.Struct({ present: Schema.Boolean, enabled: Schema.Boolean }))
    ]
    const outcomes = yield* Effect.forEach(steps, timed)
    return [...outcomes, yield* Fiber.join(stopped)]
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => Effect.succeed([{ outcome: failed(error), took: 0 }]))
  )
