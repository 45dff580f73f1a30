/**
 * The socket of a run, at which other processes of the same user ask what it does, and join its sessions.
 *
 * It is `vmtest.sock` in the folder of the run, which only its user can enter.
 *
 * **Example** (Answer `vmtest top` while something runs)
 *
 * ```ts
 * const program = Effect.andThen(RunSocket.serve(folder), work)
 * ```
 *
 * @since 0.1.0
 */
import * as Net from "node:net"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Channel from "../internal/channel.ts"
import * as RemoteSeat from "../internal/remoteSeat.ts"
import * as Attachable from "./Attachable.ts"
import * as RunOverview from "./RunOverview.ts"

/** The name of the socket in the folder of a run. */
export const fileName = "vmtest.sock"

/** What a client asks for first. */
export const Request = Schema.Union([
  Schema.Struct({ ask: Schema.Literal("overview") }),
  Schema.Struct({
    ask: Schema.Literal("attach"),
    /** Which session, by its name; undefined if there is only one. */
    name: Schema.optionalKey(Schema.String),
    /** The client's terminal; undefined if it sends whole lines. */
    terminal: Schema.optionalKey(RemoteSeat.TerminalFacts)
  })
])

/** What the run answers, besides what a terminal shows. */
export const Answer = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("Overview"), overview: RunOverview.RunOverview }),
  Schema.Struct({ _tag: Schema.Literal("Refused"), reason: Schema.String }),
  Schema.Struct({ _tag: Schema.Literal("Attached"), name: Schema.String }),
  /** The session was left; `reason` says how, and `failures` how many lines failed. */
  Schema.Struct({ _tag: Schema.Literal("Left"), reason: Schema.String, failures: Schema.Number })
])

/** What the run answers, besides what a terminal shows. */
export type Answer = typeof Answer.Type

const decode = Schema.decodeUnknownOption(Request)

const reply = (channel: Channel.Channel, answer: Answer) => channel.send(answer)

const attach = Effect.fnUntraced(function* (
  channel: Channel.Channel,
  request: Extract<typeof Request.Type, { readonly ask: "attach" }>
) {
  const found = Attachable.find(request.name)
  if (typeof found === "string") return yield* reply(channel, { _tag: "Refused", reason: found })
  yield* reply(channel, { _tag: "Attached", name: found.name })
  const seat = yield* RemoteSeat.make(channel, request.terminal)
  const { failures, reason } = yield* found.join(seat)
  yield* reply(channel, { _tag: "Left", reason, failures })
}, Effect.scoped)

const answer = Effect.fnUntraced(function* (channel: Channel.Channel, run: string) {
  const first = yield* channel.next
  const request = first?._tag === "Message" ? decode(first.message) : undefined
  if (request === undefined || request._tag === "None")
    return yield* reply(channel, { _tag: "Refused", reason: "it is another version of vmtest" })
  if (request.value.ask === "attach") return yield* attach(channel, request.value)
  yield* reply(channel, {
    _tag: "Overview",
    overview: yield* RunOverview.look({ run, attachable: Attachable.all() })
  })
})

/** Serves the socket in the folder of a run until the scope closes. A socket that cannot be made is done without. */
export const serve: (folder: string) => Effect.Effect<void, never, Scope.Scope> = Effect.fnUntraced(function* (
  folder: string
) {
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const serveOne = (socket: Net.Socket) =>
    void run(
      Effect.gen(function* () {
        const channel = yield* Channel.of(socket)
        yield* answer(channel, NodePath.basename(folder))
      }).pipe(Effect.scoped)
    )
  const server = yield* Effect.acquireRelease(
    Effect.sync(() => Net.createServer({ allowHalfOpen: true }, serveOne)),
    (opened) => Effect.sync(() => void opened.close())
  )
  yield* Effect.callback<void>((resume) => {
    server.once("error", () => resume(Effect.void))
    server.listen(NodePath.join(folder, fileName), () => resume(Effect.void))
  })
  // It keeps no process from ending.
  server.unref()
})
