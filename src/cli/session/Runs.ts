/**
 * The runs of this user on this host, as seen from another process.
 *
 * **Example** (The folders of those that answer)
 *
 * ```ts
 * const folders = Effect.map(Runs.overviews, (runs) => runs.map(({ folder }) => folder))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import * as RunDirectory from "../../host/RunDirectory.ts"
import * as Channel from "../internal/channel.ts"
import type { Frame } from "../internal/wire.ts"
import type { RunOverview } from "./RunOverview.ts"
import * as RunSocket from "./RunSocket.ts"

/** The sockets of runs, those of dead ones included. */
const sockets: Effect.Effect<ReadonlyArray<string>> = Effect.sync(() =>
  RunDirectory.bases().flatMap((base) =>
    Disk.namesIn(base)
      .filter((name) => !name.startsWith("."))
      .map((name) => NodePath.join(base, name, RunSocket.fileName))
      .filter((path) => Fs.existsSync(path))
  )
)

/** Connects to the socket of a run; undefined if nobody is there. */
export const connect = (path: string): Effect.Effect<Channel.Channel | undefined, never, Scope.Scope> =>
  Effect.gen(function* () {
    const socket = yield* Effect.callback<Net.Socket | undefined>((resume) => {
      const connecting = Net.connect({ path, allowHalfOpen: true })
      connecting.once("connect", () => {
        connecting.removeAllListeners("error")
        resume(Effect.succeed(connecting))
      })
      connecting.once("error", () => resume(Effect.succeed(undefined)))
      return Effect.sync(() => void connecting.destroy())
    })
    return socket === undefined ? undefined : yield* Channel.of(socket)
  })

const decode = Schema.decodeUnknownOption(RunSocket.Answer)

/** The answer in a frame; undefined for another one. */
export const answerIn = (frame: Frame | undefined): RunSocket.Answer | undefined => {
  if (frame?._tag !== "Message") return undefined
  const answer = decode(frame.message)
  return answer._tag === "Some" ? answer.value : undefined
}

/** The next message of a run; undefined when it has gone, or is another version of vmtest. */
export const answerOf = (channel: Channel.Channel): Effect.Effect<RunSocket.Answer | undefined> =>
  Effect.map(channel.next, answerIn)

/** A run that answers. */
export interface Run {
  readonly socket: string
  readonly overview: RunOverview
}

/** A run that is busy is not waited for longer. */
const patience = "2 seconds"

const overviewOf = (socket: string): Effect.Effect<ReadonlyArray<Run>> =>
  Effect.gen(function* () {
    const channel = yield* connect(socket)
    if (channel === undefined) return []
    yield* channel.send({ ask: "overview" })
    const answer = yield* answerOf(channel)
    return answer?._tag === "Overview" ? [{ socket, overview: answer.overview }] : []
  }).pipe(Effect.scoped, Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.succeed([]) }))

/** What all runs of this user do now, in the order of their starts. */
export const all: Effect.Effect<ReadonlyArray<Run>> = Effect.gen(function* () {
  const found = yield* Effect.forEach(yield* sockets, overviewOf, { concurrency: 16 })
  return found.flat().toSorted((a, b) => b.overview.uptime - a.overview.uptime)
})

/** As {@link all}, without their sockets. */
export const overviews: Effect.Effect<ReadonlyArray<RunOverview>> = Effect.map(all, (runs) =>
  runs.map(({ overview }) => overview)
)
