/** The Python interpreter of one script: a process of the host, and what it says. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as HostProcess from "../../host/HostProcess.ts"
import * as OwnFiles from "../../host/OwnFiles.ts"
import { InterpreterDied, ProtocolBroken } from "../PythonError.ts"
import * as Leftovers from "./leftovers.ts"
import { FromScript } from "./protocol.ts"

/** The script's side, which the interpreter runs. */
export const shim = OwnFiles.file("python/shim.py")

/** Without what the user's environment would add to the path of imports, and with UTF-8 whatever the locale. */
const flags = ["-I", "-X", "utf8"]

/** What ends the conversation. */
export type Lost = InterpreterDied | ProtocolBroken

export interface InterpreterService {
  readonly pid: number
  /** Says one line, an object. What it does not take at once waits in memory. */
  readonly say: (line: unknown) => void
  /** What the script says, in its order; fails when it cannot say anything more. */
  readonly heard: Queue.Dequeue<FromScript, Lost>
  /** Waits until it has ended, and all that it printed was reported. */
  readonly ended: Effect.Effect<void>
  /** Whether Ctrl-C at the terminal interrupts the one that talks, or ends the session. */
  readonly passInterrupts: (passed: boolean) => Effect.Effect<void>
}

export class Interpreter extends Context.Service<Interpreter, InterpreterService>()("vmtest/python/Interpreter") {}

const decode = Schema.decodeUnknownResult(Schema.fromJsonString(FromScript))

/** How much of the standard error is kept for the message about its end. */
const kept = 4000

/** After the end of the interpreter, a program that it started can hold its output open. */
const afterEnd = "2 seconds"

/** How long a script that is ended has for its `finally`. */
const atEnd = "2 seconds"

/** The lines in what a socket brings, each without its end. */
const lineReader = (onLine: (line: string) => void) => {
  let parts: Array<Buffer> = []
  return (chunk: Buffer): void => {
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end))
      onLine((parts.length === 1 ? parts[0]! : Buffer.concat(parts)).toString("utf8"))
      parts = []
      from = end + 1
    }
    if (from < chunk.length) parts.push(chunk.subarray(from))
  }
}

/**
 * Passes SIGINT on to a process that is not in the terminal's group, instead of having it end this one, or no longer. Before the process asks for
 * it, Ctrl-C ends the start of the session; after it has ended its prompt, the rest of its work.
 */
const interruptsOf = (process: HostProcess.HostProcess) => {
  const pass = () => void Effect.runSync(process.kill("SIGINT"))
  let earlier: ReadonlyArray<unknown> | undefined
  return (passed: boolean) =>
    Effect.sync(() => {
      // The new listeners come first: Node forgets signals while nobody listens.
      if (passed && earlier === undefined) {
        earlier = globalThis.process.rawListeners("SIGINT")
        globalThis.process.on("SIGINT", pass)
        for (const listener of earlier) globalThis.process.off("SIGINT", listener as NodeJS.SignalsListener)
      } else if (!passed && earlier !== undefined) {
        for (const listener of earlier) globalThis.process.on("SIGINT", listener as NodeJS.SignalsListener)
        globalThis.process.off("SIGINT", pass)
        earlier = undefined
      }
    })
}

/** Puts what the script says into a queue. */
const listen = (process: HostProcess.HostProcess, heard: Queue.Queue<FromScript, Lost>) => {
  const { channel } = process.streams
  channel?.on(
    "data",
    lineReader((line) => {
      const frame = decode(line)
      if (Result.isSuccess(frame)) Queue.offerUnsafe(heard, frame.success)
      else Queue.failCauseUnsafe(heard, Cause.fail(broken(line)))
    })
  )
  return Effect.callback<void>((resume) => {
    if (channel === null || channel.readableEnded || channel.destroyed) return resume(Effect.void)
    channel.once("close", () => resume(Effect.void))
    channel.once("end", () => resume(Effect.void))
  })
}

/**
 * An interpreter that runs the shim, and waits for its first line; it ends with the layer, and all that its script has started. `print` gets the lines of
 * its standard output and error. One that `talks` has those of vmtest instead, and its standard input.
 */
export const layer = (print: (line: string) => Effect.Effect<void>, { talks }: { readonly talks: boolean }) =>
  Layer.effect(
    Interpreter,
    Effect.gen(function* () {
      const token = yield* Leftovers.token
      yield* Effect.addFinalizer(() => Leftovers.kill(token))
      const process = yield* HostProcess.spawn({
        name: "the Python interpreter",
        command: "python3",
        args: [...flags, shim],
        env: { [Leftovers.variable]: token },
        ...(talks
          ? { stdin: "inherit" as const, stdout: "inherit" as const, stderr: "inherit" as const }
          : { stdout: "pipe" as const, stderr: "pipe" as const }),
        wholeGroup: true,
        mark: Leftovers.entryOf(token),
        channel: true
      })
      const passInterrupts =
        talks && globalThis.process.stdin.isTTY === true ? interruptsOf(process) : () => Effect.void
      yield* Effect.addFinalizer(() => passInterrupts(false))
      let stderr = ""
      const printed = (stream: HostProcess.HostProcess["stdout"], note: (line: string) => void) =>
        stream.pipe(
          Stream.decodeText(),
          Stream.splitLines,
          Stream.runForEach((line) =>
            Effect.andThen(
              Effect.sync(() => note(line)),
              print(line)
            )
          ),
          Effect.ignore,
          Effect.forkScoped
        )
      const output = [
        yield* printed(process.stdout, () => {}),
        yield* printed(process.stderr, (line) => {
          stderr = `${stderr}${line}\n`.slice(-kept)
        })
      ]
      const heard = yield* Queue.unbounded<FromScript, Lost>()
      const closed = yield* Effect.forkScoped(listen(process, heard), { startImmediately: true })
      const ended = yield* Effect.forkScoped(
        Effect.gen(function* () {
          const status = HostProcess.describeStatus(yield* process.exited)
          const all = Effect.forEach([closed, ...output], (fiber) => Fiber.await(fiber), { concurrency: "unbounded" })
          yield* Effect.timeoutOption(all, afterEnd)
          yield* Queue.fail(heard, new InterpreterDied({ status, stderr }))
        }),
        { startImmediately: true }
      )
      // The readers end after the script: what it prints in `finally` is reported, too.
      yield* Effect.addFinalizer(() =>
        Effect.andThen(process.kill("SIGTERM"), Effect.timeoutOption(Fiber.await(ended), atEnd))
      )
      return Interpreter.of({
        pid: process.pid,
        say: (line) => void process.streams.channel?.write(`${JSON.stringify(line)}\n`),
        heard,
        ended: Effect.asVoid(Fiber.await(ended)),
        passInterrupts
      })
    })
  )

const shownLine = (line: string) => JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}…` : line)

const broken = (line: string) => new ProtocolBroken({ reason: `got ${shownLine(line)}` })

const Verdict = Schema.fromJsonString(
  Schema.NullOr(Schema.Struct({ line: Schema.Int, column: Schema.Int, message: Schema.String }))
)

/** Where a file is not valid Python; undefined if it is valid. Fails if Python could not be asked. */
export const check: (
  file: string
) => Effect.Effect<
  { readonly line: number; readonly column: number; readonly message: string } | undefined,
  HostProcess.HostProcessError | HostProcess.ProcessFailed | ProtocolBroken
> = Effect.fnUntraced(function* (file: string) {
  yield* HostProcess.locate("python3")
  const { stdout } = yield* HostProcess.check({ command: "python3", args: [...flags, "-S", shim, "--check", file] })
  const verdict = Schema.decodeUnknownResult(Verdict)(stdout.trim())
  if (Result.isFailure(verdict)) return yield* new ProtocolBroken({ reason: `the check said ${shownLine(stdout)}` })
  return verdict.success ?? undefined
})
