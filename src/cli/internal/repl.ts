/**
 * A prompt whose Effects are run: Node's own REPL, with one line after the other.
 *
 * From a terminal Ctrl-C interrupts what runs. From a pipe the lines are run to their end, whatever they give, and the prompt is silent.
 */
import * as Repl from "node:repl"
import { PassThrough } from "node:stream"
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Failure from "../../driver/Failure.ts"

export interface PromptOptions<R> {
  /** What expressions can name. */
  readonly scope: Readonly<Record<string, unknown>>
  /** Where lines are remembered, on a terminal. */
  readonly history: string
  readonly run: (effect: Effect.Effect<unknown, unknown, R>) => Effect.Effect<unknown, unknown>
}

/** A word that nobody types: the line that ends the input of a pipe. */
const lastLine = "vmtest:last-line"

/** Input that does not end before its last line has run: what is still running would write to a prompt that is closed. */
const heldInput = (): PassThrough => {
  const input = new PassThrough()
  process.stdin.pipe(input, { end: false })
  // A statement that is still open is given up.
  process.stdin.once("end", () => input.write(`\n.break\n"${lastLine}"\n`))
  return input
}

type Answer = (error: Error | null, value?: unknown) => void

/** Prompts until the input ends; gives how many lines failed. */
export const prompt = <R>(options: PromptOptions<R>): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true
    const input = terminal ? process.stdin : heldInput()
    const server = Repl.start({
      prompt: terminal ? "vmtest> " : "",
      input,
      output: process.stdout,
      terminal,
      ignoreUndefined: true,
      writer: (value) => inspect(value, { depth: 6, colors: terminal && process.env.NO_COLOR === undefined })
    })
    Object.assign(server.context, options.scope)
    if (terminal) server.setupHistory(options.history, () => undefined)

    let failures = 0
    let running: Fiber.Fiber<unknown, unknown> | undefined
    let closed = false
    const queue: Array<() => void> = []
    let busy = false
    const next = () => {
      const line = queue.shift()
      busy = line !== undefined
      line?.()
    }

    const plain = server.eval
    const evaluate = (code: string, context: Parameters<typeof plain>[1], file: string, answer: Answer) => {
      const done: Answer = (error, value) => {
        // A statement that goes on in the next line is no failure.
        if (error !== null && !(error instanceof Repl.Recoverable)) failures += 1
        answer(error, value)
        if (!closed) next()
      }
      plain.call(server, code, context, file, (error, value) => {
        if (error !== null || !Effect.isEffect(value)) return done(error, value)
        const effect = value as Effect.Effect<unknown, unknown, R>
        const fiber = Effect.runFork(options.run(effect))
        running = fiber
        fiber.addObserver((exit) => {
          running = undefined
          if (Exit.isSuccess(exit)) return done(null, exit.value)
          failures += 1
          const said = Cause.hasInterruptsOnly(exit.cause)
            ? "interrupted"
            : Failure.render({ ...Failure.fromCause(exit.cause, undefined), place: undefined })
          if (!closed) process.stdout.write(`${said}\n`)
          done(null, undefined)
        })
      })
    }
    const queued: typeof plain = (code, context, file, answer) => {
      if (code.trim() === `"${lastLine}"`) {
        queue.push(() => server.close())
      } else queue.push(() => evaluate(code, context, file, answer))
      if (!busy) next()
    }
    Object.assign(server, { eval: queued })

    server.on("SIGINT", () => running?.interruptUnsafe())
    server.once("exit", () => {
      closed = true
      resume(Effect.as(running === undefined ? Effect.void : Fiber.interrupt(running), failures))
    })
    return Effect.sync(() => {
      closed = true
      server.close()
    })
  })
