/**
 * What all subcommands share.
 *
 * **Example** (A subcommand that prints a line)
 *
 * ```ts
 * const hello: Work = Effect.as(print("hello"), ExitCode.passed)
 * ```
 *
 * @since 0.1.0
 */
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { currentLabel } from "../driver/RunEvent.ts"
import * as CommandName from "./CommandName.ts"
import type { ExitCode } from "./ExitCode.ts"

/** The work of a subcommand, which prints its own output and gives the exit code. */
export type Work = Effect.Effect<ExitCode, never, NodeServices.NodeServices>

/** Writes a line to stdout. */
export const print = (line: string): Effect.Effect<void> => Effect.sync(() => void process.stdout.write(`${line}\n`))

/** Writes a line to stderr, after the command's name. */
export const complain = (line: string): Effect.Effect<void> =>
  Effect.sync(() => void process.stderr.write(`${CommandName.before(line)}\n`))

/** Writes the library's log to stderr, because stdout is for results. */
export const logToStderr = Logger.layer([
  Logger.make(({ message }) => {
    process.stderr.write(`${CommandName.before(Array.isArray(message) ? message.join(" ") : String(message))}\n`)
  })
])

/** As {@link logToStderr}, also for the logs of scripts: lines below the level of warnings have no prefix, or that of their test if several run at once. */
export const logOfTests = (atOnce: boolean) =>
  Logger.layer([
    Logger.make(({ logLevel, message }) => {
      const text = Array.isArray(message) ? message.join(" ") : String(message)
      const label = atOnce ? currentLabel() : undefined
      const whose = label === undefined ? "" : `${label} │ `
      const isWarning = logLevel === "Warn" || logLevel === "Error" || logLevel === "Fatal"
      process.stderr.write(`${(isWarning ? CommandName.before(text) : text).replace(/^/gm, () => whose)}\n`)
    })
  ])
