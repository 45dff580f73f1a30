/**
 * What a shell offers, over the lanes of a guest: commands that are collected, streamed, or held by a handle.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { CollectOptions, ExecuteOptions, ShellService } from "../Shell.ts"
import type { ShellError } from "../ShellError.ts"
import { collect, collectAloud, mostCollected } from "./collect.ts"
import * as Jobs from "./jobs.ts"
import { spawn, streaming } from "./streamed.ts"

/** What a question to the guest itself may say. */
const mostProbed = 1024 * 1024

/** Builds the commands of a machine. */
export const make = Effect.fnUntraced(function* (
  options: Jobs.CommandsOptions
): Effect.fn.Return<ShellService, never, Scope.Scope> {
  const { lanes, machine } = options
  const jobs: Jobs.Jobs = yield* Jobs.make(options, (command, timeout, onStart) =>
    collect(jobs, command, { timeout }, mostProbed, onStart)
  )

  const executeBytes = (command: string, { stream, ...execute }: CollectOptions = {}) =>
    stream === undefined
      ? collect(jobs, command, execute, mostCollected)
      : collectAloud(machine, command, (late) => streaming(jobs, command, execute, late), stream)

  return {
    machine,
    lanes: lanes.most,
    execute: (command, execute) =>
      Effect.map(executeBytes(command, execute), ({ exitCode, stderr, stdout }) => ({
        exitCode,
        stdout: Buffer.from(stdout.buffer, stdout.byteOffset, stdout.length).toString("utf8"),
        stderr: Buffer.from(stderr.buffer, stderr.byteOffset, stderr.length).toString("utf8")
      })),
    executeBytes,
    executeStream: (command, execute: ExecuteOptions = {}) =>
      streaming(jobs, command, execute, Deferred.makeUnsafe<never, ShellError>()),
    spawn: (command, execute) => spawn(jobs, command, execute),
    awaitIdle: lanes.awaitIdle,
    lost: lanes.lost,
    reset: (reason) => lanes.reset(reason)
  }
})
