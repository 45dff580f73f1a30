/**
 * A prompt that runs Effects: Node's own REPL, one line after the other.
 *
 * On a terminal Ctrl-C interrupts the current line. From a pipe all lines are run, whatever their results, without showing a prompt.
 *
 * **Example** (A prompt with a machine)
 *
 * ```ts
 * const failed = prompt<never>({ scope: { web }, history: "/dev/null", run: (effect) => effect })
 * ```
 *
 * @since 0.1.0
 */
import { EventEmitter } from "node:events"
import * as Readline from "node:readline"
import * as Repl from "node:repl"
import { type Duplex, PassThrough } from "node:stream"
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Failure from "../driver/Failure.ts"
import * as CtrlC from "./internal/ctrlC.ts"
import { toEffect, toGenerator, yields } from "./internal/yieldLine.ts"

/** The piped input ended within a statement, which was not evaluated. */
export class UnfinishedStatement extends Schema.TaggedError<UnfinishedStatement>()("UnfinishedStatement", {
  /** Where it starts, from 1. */
  line: Schema.Int,
  text: Schema.String
}) {
  override get message() {
    return `the input ends within the statement that starts on line ${this.line}: ${this.text.trim()}`
  }
}

/** What a prompt has, and how it runs an Effect. */
export interface PromptOptions<R> {
  /** What expressions can name. */
  readonly scope: Readonly<Record<string, unknown>>
  /** Where lines are remembered, on a terminal. */
  readonly history: string
  /** Who is at the prompt. Default: standard input and output. */
  readonly connection?: Duplex | undefined
  readonly run: (effect: Effect.Effect<unknown, unknown, R>) => Effect.Effect<unknown, unknown>
}

/** Commands of the REPL, which it does not evaluate. */
const command = /^\s*\.(break|clear|editor|exit|help|load|save)\b/

/**
 * Passes on the lines of a pipe, each when the one before has been evaluated, because only then it is known whether a line starts a new statement
 * or continues one. `onEnd` is called after the last line, with a statement that was not finished, if there is one.
 */
const lineByLine = (from: NodeJS.ReadableStream, onEnd: (open: UnfinishedStatement | undefined) => void) => {
  const input = new PassThrough()
  const lines = Readline.createInterface({ input: from, crlfDelay: Infinity })
  const waiting: Array<string> = []
  let idle = true
  let ended = false
  let last = { line: 0, text: "" }
  let open: UnfinishedStatement | undefined
  const feed = () => {
    const line = waiting.shift()
    idle = line === undefined
    if (line !== undefined) {
      last = { line: last.line + 1, text: line }
      input.write(`${line}\n`)
      if (/^\s*\.(break|clear)\b/.test(line)) open = undefined
      // These are not evaluated, so no answer comes.
      if (command.test(line) || (open === undefined && /^\s*\.[^.\d]/.test(line))) setImmediate(feed)
    } else if (ended) onEnd(open)
  }
  lines.on("line", (line) => {
    waiting.push(line)
    if (idle) feed()
  })
  lines.on("close", () => {
    ended = true
    if (idle) feed()
  })
  const answered = (goesOn: boolean) => {
    open = goesOn ? (open ?? new UnfinishedStatement(last)) : undefined
    setImmediate(feed)
  }
  return { input, answered }
}

/** Where Node's REPL reports what an expression throws or rejects with, after printing it, instead of answering. */
const domainOf = (server: Repl.REPLServer): EventEmitter | undefined => {
  const domain: unknown = Reflect.get(server, "_domain")
  return domain instanceof EventEmitter ? domain : undefined
}

/** Takes the lines of Node and of this prompt from an error's stack. Errors of the prompt's own context are no `Error` of this one. */
const withoutOurs = (error: unknown): void => {
  if (typeof error !== "object" || error === null || !("stack" in error) || typeof error.stack !== "string") return
  const ours = /^\s+at .*(\bnode:|[\\/]cli[\\/](internal[\\/])?\w+\.[jt]s:)/
  const kept = error.stack.split("\n").filter((line) => !ours.test(line))
  Result.try(() => Reflect.set(error, "stack", kept.join("\n")))
}

type Answer = (error: Error | null, value?: unknown) => void

/** Prompts until the input ends; gives how many lines failed. */
export const prompt = <R>(options: PromptOptions<R>): Effect.Effect<number, UnfinishedStatement> =>
  Effect.callback<number, UnfinishedStatement>((resume) => {
    const { connection } = options
    const output = connection ?? process.stdout
    const terminal = connection === undefined && process.stdin.isTTY === true && process.stdout.isTTY === true
    const pipe = terminal
      ? undefined
      : lineByLine(connection ?? process.stdin, (open) => {
          unfinished = open
          server.close()
        })
    const server = Repl.start({
      prompt: terminal || connection !== undefined ? "vmtest> " : "",
      input: pipe?.input ?? process.stdin,
      output,
      terminal,
      // Ctrl-C also ends a loop, and the wait for a promise.
      breakEvalOnSigint: terminal,
      ignoreUndefined: true,
      writer: (value) => inspect(value, { depth: 6, colors: terminal && process.env.NO_COLOR === undefined })
    })
    Object.assign(server.context, options.scope)
    if (terminal) server.setupHistory(options.history, () => undefined)

    let failures = 0
    let unfinished: UnfinishedStatement | undefined
    let running: Fiber.Fiber<unknown, unknown> | undefined
    let closed = false
    const queue: Array<() => void> = []
    let busy = false
    const next = () => {
      const line = queue.shift()
      busy = line !== undefined
      line?.()
    }

    const run = (effect: Effect.Effect<unknown, unknown, R>, done: Answer) => {
      const fiber = Effect.runFork(options.run(effect))
      running = fiber
      fiber.addObserver((exit) => {
        running = undefined
        if (Exit.isSuccess(exit)) return done(null, exit.value)
        failures += 1
        const said = Cause.hasInterruptsOnly(exit.cause)
          ? "interrupted"
          : Failure.render({ ...Failure.fromCause(exit.cause, undefined), place: undefined })
        if (!closed) output.write(`${said}\n`)
        done(null, undefined)
      })
    }
    const interruptEffect = () => {
      const fiber = running
      fiber?.interruptUnsafe()
      return fiber !== undefined
    }
    const ctrlC = terminal ? CtrlC.make(server, interruptEffect) : CtrlC.none

    const plain = server.eval
    const domain = domainOf(server)
    // Before Node's own listener, which prints it.
    domain?.prependListener("error", withoutOurs)
    const evaluate = (code: string, context: Parameters<typeof plain>[1], file: string, answer: Answer) => {
      const done: Answer = (error, value) => {
        // A statement that continues in the next line is not a failure.
        const goesOn = error instanceof Repl.Recoverable
        if (error !== null && !goesOn) failures += 1
        withoutOurs(error)
        answer(error, value)
        pipe?.answered(goesOn)
        if (!closed) next()
      }
      const thrown = () => {
        failures += 1
        pipe?.answered(false)
        if (!closed) next()
      }
      domain?.once("error", thrown)
      const isProgram = yields(code)
      ctrlC.evaluate((answered) =>
        plain.call(server, isProgram ? toGenerator(code) : code, context, file, (error, result) => {
          answered()
          domain?.off("error", thrown)
          const value = error === null && isProgram ? toEffect(result, context) : result
          if (error !== null || !Effect.isEffect(value)) return done(error, value)
          run(value as Effect.Effect<unknown, unknown, R>, done)
        })
      )
    }
    const queued: typeof plain = (code, context, file, answer) => {
      queue.push(() => evaluate(code, context, file, answer))
      if (!busy) next()
    }
    Object.assign(server, { eval: queued })

    server.once("exit", () => {
      closed = true
      const ended = unfinished === undefined ? Effect.succeed(failures) : Effect.fail(unfinished)
      resume(Effect.andThen(running === undefined ? Effect.void : Fiber.interrupt(running), ended))
    })
    return Effect.sync(() => {
      closed = true
      server.close()
    })
  })
