/**
 * The QEMU Machine Protocol: commands to a running QEMU, and its events.
 *
 * One JSON object a line: a greeting, the negotiation of capabilities, then replies that carry the id of their command,
 * with events between any two of them. Source: docs/interop/qmp-spec of QEMU.
 *
 * **Example** (Stop a guest and see that it stopped)
 *
 * ```ts
 * const Stopped = Schema.Struct({ event: Schema.Literal("STOP") })
 * const program = Effect.gen(function* () {
 *   const qmp = yield* Qmp.make({ machine: "web", socket: "/run/web/qmp" })
 *   const stopped = yield* Effect.forkChild(qmp.waitForEvent(Stopped), { startImmediately: true })
 *   yield* qmp.execute("stop")
 *   yield* Fiber.join(stopped)
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Connection from "../Connection.ts"
import { nonce } from "../internal/nonce.ts"
import * as Timeout from "../internal/timeout.ts"
import { TransportError } from "../ShellError.ts"
import * as HumanMonitor from "./humanMonitor.ts"
import * as Wire from "./wire.ts"

/** QEMU refused a command, did not answer it in time, or answered something of another shape. */
export class QmpError extends Schema.TaggedError<QmpError>()("QmpError", {
  machine: Schema.String,
  command: Schema.String,
  /** QEMU's error class (`GenericError`, `CommandNotFound`, …), or ours: `Timeout`, `BadRequest`, `BadReply`, `HumanMonitor` */
  class: Schema.String,
  desc: Schema.String
}) {
  override get message() {
    return `${this.machine}: QMP ${this.command}: ${this.desc} (${this.class})`
  }
}

/** An event of QEMU. */
export interface QmpEvent {
  readonly event: string
  readonly data: unknown
  /** milliseconds since the epoch, on QEMU's clock */
  readonly timestamp: number
}

/** Whatever a command can fail with. */
export type QmpFailure = QmpError | TransportError

/** A control channel to one QEMU. */
export interface QmpService {
  readonly machine: string
  /** The version of QEMU, `7.2.22` say, from its greeting. */
  readonly version: string
  /** Runs a command by name; with a schema, decodes the reply. Fails after 30 s without one. */
  readonly execute: {
    (command: string, args?: Readonly<Record<string, unknown>>): Effect.Effect<unknown, QmpFailure>
    <A>(
      command: string,
      args: Readonly<Record<string, unknown>> | undefined,
      schema: Schema.Decoder<A>
    ): Effect.Effect<A, QmpFailure>
  }
  /** Every event from the moment the stream runs on; ends when the connection does. */
  readonly events: Stream.Stream<QmpEvent>
  /** The first event that the schema decodes (of `{ event, data, timestamp }`), after the call. Default timeout 30 s. */
  readonly waitForEvent: <A>(
    schema: Schema.Decoder<A>,
    options?: { readonly timeout?: Duration.Input | undefined }
  ) => Effect.Effect<A, QmpFailure>
  /** Runs a line of the human monitor and gives what it printed; what it prints about a mistake is a `QmpError`. */
  readonly hmp: (line: string) => Effect.Effect<string, QmpFailure>
  /** Waits for the end of the connection and says why it ended. */
  readonly closed: Effect.Effect<string>
}

/** The control channel, as a service. */
export class Qmp extends Context.Service<Qmp, QmpService>()("vmtest/transport/Qmp") {}

/** What {@link make} needs. */
export interface QmpOptions {
  readonly machine: string
  /** the path of the unix socket that QEMU listens on */
  readonly socket: string
  /** when to try again to connect. Default every 20 ms */
  readonly retry?: Schedule.Schedule<unknown, TransportError> | undefined
  /** how long to try to connect, and how long the greeting may take. Default 10 s */
  readonly connectTimeout?: Duration.Input | undefined
  /** how long a reply may take. Default 30 s */
  readonly commandTimeout?: Duration.Input | undefined
}

/** Opens the control channel: connects, reads the greeting and negotiates. */
export const make = (options: QmpOptions): Effect.Effect<QmpService, QmpFailure, Scope.Scope> =>
  Timeout.timeout(
    options.connectTimeout ?? "10 seconds",
    (desc) => new QmpError({ machine: options.machine, command: "greeting", class: "BadRequest", desc })
  ).pipe(
    Effect.flatMap((timeout) =>
      Connection.connect({ machine: options.machine, socket: options.socket, retry: options.retry, timeout })
    ),
    Effect.flatMap((connection) => fromConnection(connection, options))
  )

/** What the parts of one control channel share. */
interface Channel {
  readonly machine: string
  readonly connection: Connection.Connection
  readonly commandTimeout: Duration.Duration
  readonly greeting: Deferred.Deferred<Wire.Greeting>
  /** `undefined` is the end: it goes the way of the events, so that what QEMU said last is still read. */
  readonly events: PubSub.PubSub<QmpEvent | undefined>
  /** the commands that wait for a reply, by id */
  readonly waiting: Map<string, Deferred.Deferred<Wire.Reply>>
  ended: boolean
}

const checkTimeout = (machine: string, command: string, timeout: Duration.Input) =>
  Timeout.timeout(timeout, (desc) => new QmpError({ machine, command, class: "BadRequest", desc }))

/** Fails with why the connection ended, once it has. */
const gone = ({ connection, machine }: Channel) =>
  Effect.flatMap(connection.closed, (reason) =>
    Effect.fail(new TransportError({ machine, socket: connection.socket, reason }))
  )

const inTime = <A, E>(
  { machine }: Channel,
  command: string,
  timeout: Duration.Duration,
  what: string,
  self: Effect.Effect<A, E>
) =>
  Effect.timeoutOrElse(self, {
    duration: timeout,
    orElse: () =>
      Effect.fail(
        new QmpError({ machine, command, class: "Timeout", desc: `${what} within ${Duration.format(timeout)}` })
      )
  })

/** As {@link inTime}, and fails when the connection ends. */
const within = <A, E>(
  channel: Channel,
  command: string,
  timeout: Duration.Duration,
  what: string,
  self: Effect.Effect<A, E>
) => inTime(channel, command, timeout, what, Effect.raceFirst(self, gone(channel)))

/** Passes on what QEMU says, and in the end that the connection, or the scope, has ended. */
const listen = Effect.fnUntraced(function* (channel: Channel) {
  const { connection, events, greeting, waiting } = channel
  connection.onData(
    Wire.reader((message) => {
      if (message._tag === "Greeting") Deferred.doneUnsafe(greeting, Effect.succeed(message))
      else if (message._tag === "Event") PubSub.publishUnsafe(events, message)
      else {
        const asked = waiting.get(message.id)
        if (asked !== undefined) Deferred.doneUnsafe(asked, Effect.succeed(message))
      }
    })
  )
  const end = Effect.sync(() => {
    channel.ended = true
    PubSub.publishUnsafe(events, undefined)
  })
  // A connection whose scope closes ends what waits for its events, too.
  yield* Effect.addFinalizer(() => end)
  yield* Effect.forkScoped(Effect.andThen(connection.closed, end))
})

const ask = (
  channel: Channel,
  command: string,
  args?: Readonly<Record<string, unknown>>
): Effect.Effect<unknown, QmpFailure> => {
  const { commandTimeout, connection, machine, waiting } = channel
  // An id that nobody can guess: no damaged one, and none of a client before, is taken for it.
  return Effect.flatMap(nonce, (id) => {
    const answer = Deferred.makeUnsafe<Wire.Reply>()
    waiting.set(id, answer)
    const line = Effect.try({
      try: () => JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id }) + "\n",
      catch: (error) => new QmpError({ machine, command, class: "BadRequest", desc: String(error) })
    })
    return within(
      channel,
      command,
      commandTimeout,
      "no answer",
      line.pipe(Effect.flatMap(connection.write), Effect.andThen(Deferred.await(answer)))
    ).pipe(
      Effect.flatMap((reply) =>
        reply._tag === "Return"
          ? Effect.succeed(reply.value)
          : Effect.fail(new QmpError({ machine, command, class: reply.class, desc: reply.desc }))
      ),
      Effect.ensuring(Effect.sync(() => waiting.delete(id)))
    )
  }).pipe(
    Effect.withSpan(
      "vmtest.qmp",
      { attributes: { "vmtest.machine": machine, "vmtest.qmp.command": command } },
      { captureStackTrace: false }
    )
  )
}

const askFor = <A>(
  channel: Channel,
  command: string,
  args: Readonly<Record<string, unknown>> | undefined,
  schema: Schema.Decoder<A>
): Effect.Effect<A, QmpFailure> =>
  Effect.flatMap(ask(channel, command, args), (value) =>
    Effect.mapError(
      Schema.decodeUnknownEffect(schema)(value),
      (error) => new QmpError({ machine: channel.machine, command, class: "BadReply", desc: error.message })
    )
  )

const waitForEvent = <A>(
  channel: Channel,
  schema: Schema.Decoder<A>,
  wait: { readonly timeout?: Duration.Input | undefined }
): Effect.Effect<A, QmpFailure> => {
  const decode = Schema.decodeUnknownOption(schema)
  return Effect.scoped(
    Effect.gen(function* () {
      const timeout = yield* checkTimeout(channel.machine, "waitForEvent", wait.timeout ?? "30 seconds")
      const subscription = yield* PubSub.subscribe(channel.events)
      if (channel.ended) return yield* gone(channel)
      const found = Effect.gen(function* () {
        for (;;) {
          const event = yield* PubSub.take(subscription)
          if (event === undefined) return yield* gone(channel)
          const decoded = decode(event)
          if (Option.isSome(decoded)) return decoded.value
        }
      })
      return yield* inTime(channel, "waitForEvent", timeout, "no such event", found)
    })
  )
}

const hmp = (channel: Channel, line: string): Effect.Effect<string, QmpFailure> =>
  Effect.flatMap(askFor(channel, "human-monitor-command", { "command-line": line }, Schema.String), (printed) =>
    HumanMonitor.isMistake(printed)
      ? Effect.fail(
          new QmpError({ machine: channel.machine, command: line, class: "HumanMonitor", desc: printed.trim() })
        )
      : Effect.succeed(printed)
  )

/** The control channel over a connection of the caller's: reads the greeting and negotiates. See {@link make}. */
export const fromConnection = Effect.fnUntraced(function* (
  connection: Connection.Connection,
  options: Pick<QmpOptions, "machine" | "connectTimeout" | "commandTimeout">
): Effect.fn.Return<QmpService, QmpFailure, Scope.Scope> {
  const { machine } = options
  const connectTimeout = yield* checkTimeout(machine, "greeting", options.connectTimeout ?? "10 seconds")
  const channel: Channel = {
    machine,
    connection,
    commandTimeout: yield* checkTimeout(machine, "greeting", options.commandTimeout ?? "30 seconds"),
    greeting: Deferred.makeUnsafe(),
    events: yield* PubSub.unbounded<QmpEvent | undefined>(),
    waiting: new Map(),
    ended: false
  }
  yield* listen(channel)
  const greeting = Deferred.await(channel.greeting)
  const { version } = yield* within(channel, "greeting", connectTimeout, "no greeting", greeting)
  yield* ask(channel, "qmp_capabilities")

  function execute(command: string, args?: Readonly<Record<string, unknown>>): Effect.Effect<unknown, QmpFailure>
  function execute<A>(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    schema: Schema.Decoder<A>
  ): Effect.Effect<A, QmpFailure>
  function execute<A>(command: string, args?: Readonly<Record<string, unknown>>, schema?: Schema.Decoder<A>) {
    return schema === undefined ? ask(channel, command, args) : askFor(channel, command, args, schema)
  }

  return {
    machine,
    version,
    execute,
    events: Stream.suspend(() =>
      channel.ended ? Stream.empty : Stream.takeWhile(Stream.fromPubSub(channel.events), (event) => event !== undefined)
    ),
    waitForEvent: (schema, wait = {}) => waitForEvent(channel, schema, wait),
    hmp: (line) => hmp(channel, line),
    closed: connection.closed
  }
})

/** {@link make} as a layer. */
export const layer = (options: QmpOptions): Layer.Layer<Qmp, QmpFailure> => Layer.effect(Qmp, make(options))
