/**
 * A prompt that runs Effects: Node's own REPL, one line after the other, in TypeScript.
 *
 * On a terminal Ctrl-C interrupts the current line, Tab completes, and lines are remembered. From a pipe all lines are run, whatever their results,
 * without showing a prompt.
 *
 * **Example** (A prompt with a machine)
 *
 * ```ts
 * const left = prompt<never>({ scope: () => ({ web }), history: "/dev/null", run: (effect) => effect })
 * ```
 *
 * @since 0.1.0
 */
import { EventEmitter } from "node:events"
import * as Repl from "node:repl"
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Failure from "../driver/Failure.ts"
import * as Completion from "./internal/completion.ts"
import * as CtrlC from "./internal/ctrlC.ts"
import { lineByLine, type UnfinishedStatement } from "./internal/pipeLines.ts"
import { toJavaScript } from "./internal/typedLine.ts"
import { toEffect, toGenerator, yields } from "./internal/yieldLine.ts"
import * as Seat from "./Seat.ts"

export { UnfinishedStatement } from "./internal/pipeLines.ts"

/** A command of the prompt, such as `.machines`. */
export interface Command<R> extends Completion.Completable {
  /** What follows the name, as `.help` shows it: `MACHINE [NAME]`. Default: nothing. */
  readonly takes?: string | undefined
  /** One line, which `.help` shows after the name. */
  readonly help: string
  /** What it does with the words after its name; gives a text to print. */
  readonly run: (words: ReadonlyArray<string>) => Effect.Effect<string | undefined, unknown, R>
}

/** What a prompt has, and how it runs an Effect. */
export interface PromptOptions<R> {
  /** What lines can name. It is asked before each line, because machines can be made by a line. */
  readonly scope: () => Readonly<Record<string, unknown>>
  /** Where lines are remembered, on a terminal. */
  readonly history: string
  /** Who is at the prompt. Default: standard input and output. */
  readonly seat?: Seat.Seat | undefined
  /** Default: those of Node's REPL. */
  readonly commands?: ReadonlyArray<Command<R>> | undefined
  /** Whether `.detach` leaves as the end of the input does. Default false. */
  readonly detaches?: boolean | undefined
  readonly run: (effect: Effect.Effect<unknown, unknown, R>) => Effect.Effect<unknown, unknown>
}

/** How a prompt was left. */
export interface Left {
  /** How many lines failed. */
  readonly failures: number
  /** By `.exit`; or because the input ended, which is Ctrl-D on a terminal. */
  readonly by: "exit" | "end"
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

/** How many lines are remembered. */
const historySize = 2000

const startServer = (seat: Seat.Seat, input: NodeJS.ReadableStream) =>
  Repl.start({
    prompt: seat.shows ? "vmtest> " : "",
    input,
    output: seat.output,
    terminal: seat.isTerminal,
    // Ctrl-C also ends a loop, and the wait for a promise.
    breakEvalOnSigint: seat.isTerminal && seat.isOwn,
    ignoreUndefined: true,
    // It would evaluate half a line.
    preview: false,
    // Readline's own option, 30 by default.
    ...{ historySize },
    writer: (value) => inspect(value, { depth: 6, colors: seat.colors })
  })

/** Runs one thing after the other: what is typed while another one runs waits for it. */
const makeQueue = () => {
  const waiting: Array<() => void> = []
  let busy = false
  const next = () => {
    const one = waiting.shift()
    busy = one !== undefined
    one?.()
  }
  const add = (one: () => void) => {
    waiting.push(one)
    if (!busy) next()
  }
  return { add, next }
}

/** Prompts that wait on this process's terminal for a line. */
const waitingOnTerminal = new Set<Repl.REPLServer>()

/** Runs an effect that writes to the terminal, such as a report; what is being typed at a prompt there is shown again below. */
export const beside = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const prompts = [...waitingOnTerminal]
    if (prompts.length === 0) return effect
    process.stdout.write("\r\u001b[J")
    return Effect.ensuring(
      effect,
      Effect.sync(() => {
        for (const server of prompts) if (waitingOnTerminal.has(server)) server.prompt(true)
      })
    )
  })

/** Has Tab complete what Node's own completer does not know. */
const addCompletions = <R>(server: Repl.REPLServer, { commands = [], scope }: PromptOptions<R>) => {
  const ofNode = server.completer
  const all = () => [...commands, ...Object.keys(server.commands).map((name) => ({ name }))]
  const completer: typeof ofNode = (line, done) => {
    const found = Completion.complete(line, [scope(), server.context], all())
    if (found === undefined) return ofNode.call(server, line, done)
    done(null, [[...new Set(found[0])], found[1]])
  }
  Object.assign(server, { completer })
}

/** Lists the commands, those of the prompt first. */
const addHelp = <R>(server: Repl.REPLServer, commands: ReadonlyArray<Command<R>>, answered: () => void) => {
  const ofNode = ["break", "editor", "load", "save", "detach", "exit", "help"].filter(
    (name) => name in server.commands || name === "help"
  )
  const lines = [
    ...commands.map(({ help, name, takes = "" }) => [`.${name}${takes === "" ? "" : ` ${takes}`}`, help]),
    ...ofNode.map((name) => [`.${name}`, server.commands[name]?.help ?? ""])
  ]
  const width = Math.max(...lines.map(([name = ""]) => name.length))
  server.defineCommand("help", {
    help: "Print this list",
    action() {
      const text = lines.map(([name = "", help]) => `${name.padEnd(width)}  ${help}`).join("\n")
      server.output.write(
        `${text}\n\nLines are TypeScript; Effects are run, and yield* and await can be used. Tab completes, Ctrl-C interrupts a line.\n`
      )
      server.displayPrompt()
      answered()
    }
  })
}

/** Runs the Effects of lines and commands, and prints their failures. */
const makeRunner = <R>({ run }: PromptOptions<R>, server: Repl.REPLServer) => {
  const state = { failures: 0, closed: false, running: undefined as Fiber.Fiber<unknown, unknown> | undefined }
  const start = (effect: Effect.Effect<unknown, unknown, R>, done: (value: unknown) => void) => {
    const fiber = Effect.runFork(run(effect))
    state.running = fiber
    fiber.addObserver((exit) => {
      state.running = undefined
      if (Exit.isSuccess(exit)) return done(exit.value)
      state.failures += 1
      const said = Cause.hasInterruptsOnly(exit.cause)
        ? "interrupted"
        : Failure.render({ ...Failure.fromCause(exit.cause, undefined), place: undefined })
      if (!state.closed) server.output.write(`${said}\n`)
      done(undefined)
    })
  }
  const interrupt = () => {
    const fiber = state.running
    fiber?.interruptUnsafe()
    return fiber !== undefined
  }
  return { state, start, interrupt }
}

/** Prompts until the input ends or `.exit`. */
export const prompt = <R>(options: PromptOptions<R>): Effect.Effect<Left, UnfinishedStatement> =>
  Effect.callback<Left, UnfinishedStatement>((resume) => {
    const { commands = [], seat = Seat.own() } = options
    let unfinished: UnfinishedStatement | undefined
    let by: Left["by"] = "end"
    const isAnswered = (name: string) => name === "help" || commands.some((one) => one.name === name)
    const pipe = seat.isTerminal
      ? undefined
      : lineByLine(seat.input, isAnswered, (open) => {
          unfinished = open
          server.close()
        })
    const server = startServer(seat, pipe?.input ?? seat.input)
    const runner = makeRunner(options, server)
    const { state } = runner
    const queue = makeQueue()
    const names = () => void Object.assign(server.context, options.scope())
    names()
    if (seat.isTerminal) {
      server.setupHistory(options.history, () => undefined)
      addCompletions(server, options)
      if (seat.isOwn) waitingOnTerminal.add(server)
    }
    const ctrlC = seat.isTerminal ? CtrlC.make(server, runner.interrupt) : CtrlC.none

    /** After a line or a command: the next one can be run. */
    const ended = (goesOn: boolean) => {
      names()
      pipe?.answered(goesOn)
      if (state.closed) return
      if (seat.isTerminal && seat.isOwn) waitingOnTerminal.add(server)
      queue.next()
    }
    const begin = (one: () => void) =>
      queue.add(() => {
        waitingOnTerminal.delete(server)
        one()
      })

    const plain = server.eval
    const domain = domainOf(server)
    // Before Node's own listener, which prints it.
    domain?.prependListener("error", withoutOurs)
    const evaluate = (line: string, context: Parameters<typeof plain>[1], file: string, answer: Answer) => {
      const done: Answer = (error, value) => {
        // A statement that continues in the next line is not a failure.
        const goesOn = error instanceof Repl.Recoverable
        if (error !== null && !goesOn) state.failures += 1
        withoutOurs(error)
        answer(error, value)
        ended(goesOn)
      }
      const thrown = () => {
        state.failures += 1
        ended(false)
      }
      domain?.once("error", thrown)
      const code = toJavaScript(line)
      const isProgram = yields(code)
      ctrlC.evaluate((answered) =>
        plain.call(server, isProgram ? toGenerator(code) : code, context, file, (error, result) => {
          answered()
          domain?.off("error", thrown)
          const value = error === null && isProgram ? toEffect(result, context) : result
          if (error !== null || !Effect.isEffect(value)) return done(error, value)
          runner.start(value as Effect.Effect<unknown, unknown, R>, (value) => done(null, value))
        })
      )
    }
    const queued: typeof plain = (code, context, file, answer) => begin(() => evaluate(code, context, file, answer))
    Object.assign(server, { eval: queued })

    for (const { help, name, run } of commands) {
      server.defineCommand(name, {
        help,
        action: (text) =>
          begin(() =>
            runner.start(
              Effect.suspend(() => run(text.split(/\s+/).filter((word) => word !== ""))),
              (value) => {
                if (typeof value === "string" && value !== "" && !state.closed) server.output.write(`${value}\n`)
                if (!state.closed) server.displayPrompt()
                ended(false)
              }
            )
          )
      })
    }
    server.defineCommand("exit", {
      help: options.detaches === true ? "End the session, and let the run continue" : "Leave",
      action: () => {
        by = "exit"
        server.close()
      }
    })
    if (options.detaches === true) {
      server.defineCommand("detach", { help: "Leave, and keep the session", action: () => server.close() })
    }
    addHelp(server, commands, () => pipe?.answered(false))

    server.once("exit", () => {
      state.closed = true
      waitingOnTerminal.delete(server)
      const result =
        unfinished === undefined ? Effect.succeed({ failures: state.failures, by }) : Effect.fail(unfinished)
      resume(Effect.andThen(state.running === undefined ? Effect.void : Fiber.interrupt(state.running), result))
    })
    return Effect.sync(() => {
      state.closed = true
      waitingOnTerminal.delete(server)
      server.close()
    })
  })
