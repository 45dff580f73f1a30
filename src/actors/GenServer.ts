/**
 * Generic servers: a state, and a handler for every request and message of a protocol.
 *
 * **Details**
 *
 * A protocol is declared once, as a value; callers and the server are typed by it. A call gives the reply, the errors that
 * the protocol declares for it, and the ways in which any call can end without a reply ({@link CallError}), each its own
 * tag. A declared error is an answer: the server continues. Anything else that goes wrong in a handler crashes the server.
 *
 * **Example** (A counter)
 *
 * ```ts
 * import { Data, Effect } from "effect"
 * import { GenServer } from "vmtest/actors"
 *
 * class TooMuch extends Data.TaggedError("TooMuch") {}
 *
 * const CounterProtocol = GenServer.protocol({
 *   add: GenServer.Call<number, number, TooMuch>(),
 *   reset: GenServer.Cast()
 * })
 * const Counter = GenServer.make(CounterProtocol, {
 *   init: (start: number) => GenServer.ok(start),
 *   handlers: {
 *     add: (by, n) => (by > 9 ? Effect.fail(new TooMuch()) : GenServer.reply(n + by, n + by)),
 *     reset: () => GenServer.noReply(0)
 *   }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const counter = yield* GenServer.scoped(Counter, [1])
 *     return yield* GenServer.call(counter, "add", 2)
 *   })
 * )
 * // gives 3
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { CallError } from "./CallError.ts"
import { NoProcess } from "./CallError.ts"
import * as ExitReason from "./ExitReason.ts"
import { Cast as CastLetter, call as callUntyped, PendingCall } from "./internal/gen/call.ts"
import {
  InitOutcome,
  type Next as NextImpl,
  Outcome,
  type ServerModule,
  serve,
  Timeout
} from "./internal/gen/server.ts"
import { resolve } from "./internal/process/current.ts"
import type { Name, Via } from "./internal/process/names.ts"
import { currentFiber } from "./internal/process/park.ts"
import { describe, implOf, type Self } from "./internal/process/process.ts"
import { type StartOptions as ProcessStart, start as startProcess } from "./internal/process/start.ts"
import { askToStop, awaitDown, shutdownAndWait } from "./internal/process/stop.ts"
import type * as Pid from "./Pid.ts"
import type { Call, CallTag, Cast, CastTag, ErrorOf, PayloadOf, Protocol, ReplyOf } from "./Protocol.ts"
import { type StartError, StopFailed } from "./StartError.ts"

export { type CallError, CallingSelf, CallTimeout, NoProcess, ServerExit } from "./CallError.ts"
export {
  Call,
  type CallTag,
  Cast,
  type CastTag,
  type ErrorOf,
  type PayloadOf,
  type Protocol,
  protocol,
  type ReplyOf
} from "./Protocol.ts"
export { AlreadyStarted, Ignored, InitFailed, type StartError, StartTimeout, StopFailed } from "./StartError.ts"

// ----------------------------------------------------------------------------
// Results of callbacks
// ----------------------------------------------------------------------------

/** What happens before the next message: the `continue` handler at once, or `info` with `Timeout` when nothing came in time. */
export interface Next<Continue> {
  /** Handed to the `continue` handler before anything that is already in the mailbox. */
  readonly continue?: Continue
  /** After so long without any message, `info` gets a {@link Timeout}. The next message, whatever it is, cancels it. */
  readonly timeout?: Duration.Input
}

export interface Reply<out A, out S> {
  readonly _tag: "Reply"
  readonly value: A
  readonly state: S
}
export interface NoReply<out S> {
  readonly _tag: "NoReply"
  readonly state: S
}
export interface Stop<out S> {
  readonly _tag: "Stop"
  readonly reason: ExitReason.ExitReason | undefined
  readonly state: S
}
export interface StopReply<out A, out S> {
  readonly _tag: "StopReply"
  readonly reason: ExitReason.ExitReason | undefined
  readonly value: A
  readonly state: S
}

/** What the handler of a request may answer. */
export type CallResult<A, S> = Reply<A, S> | NoReply<S> | Stop<S> | StopReply<A, S>
/** What every other handler may answer. */
export type CastResult<S> = NoReply<S> | Stop<S>

/** What `init` may answer. */
export interface InitResult<out S> {
  readonly _tag: "Ok" | "Ignore" | "InitStop"
  readonly "~state"?: S
}

const nextOf = (next: Next<unknown> | undefined): NextImpl | undefined => {
  if (next === undefined) return undefined
  const timeout =
    next.timeout === undefined ? {} : { timeout: Duration.toMillis(Duration.fromInputUnsafe(next.timeout)) }
  return "continue" in next ? { continue: next.continue, ...timeout } : timeout
}

/** Answers the caller and continues with a new state. */
export const reply = <A, S>(value: A, state: S, next?: Next<unknown>): Reply<A, S> =>
  new Outcome("Reply", state, value, undefined, nextOf(next)) as Reply<A, S>

/** Goes on with a new state; a caller waits until somebody uses {@link replyTo}. */
export const noReply = <S>(state: S, next?: Next<unknown>): NoReply<S> =>
  new Outcome("NoReply", state, undefined, undefined, nextOf(next)) as NoReply<S>

/** Ends the server, through `terminate`, without an answer: a caller gets `ServerExit` with the reason. */
export const stopWith = <S>(reason: ExitReason.ExitReason, state: S): Stop<S> =>
  new Outcome("Stop", state, undefined, reason, undefined) as Stop<S>

/** Ends the server and answers the caller, after `terminate` has run. */
export const stopReply = <A, S>(reason: ExitReason.ExitReason, value: A, state: S): StopReply<A, S> =>
  new Outcome("StopReply", state, value, reason, undefined) as StopReply<A, S>

/** Init succeeded. With `continue` the starter continues while the server still prepares itself. */
export const ok = <S>(state: S, next?: Next<unknown>): InitResult<S> =>
  new InitOutcome("Ok", state, undefined, nextOf(next))

/** There is nothing to do for this server: its start fails with {@link Ignored}, which a supervisor accepts. */
export const ignore: InitResult<never> = new InitOutcome("Ignore", undefined, undefined, undefined)

/** Init failed: the start fails with {@link InitFailed}. */
export const initStop = (reason: ExitReason.ExitReason): InitResult<never> =>
  new InitOutcome("InitStop", undefined, reason, undefined)

export {
  /** The message that `info` gets when the timeout of the last result has passed. */
  Timeout
}

// ----------------------------------------------------------------------------
// Servers
// ----------------------------------------------------------------------------

/** A caller that waits for an answer; may be kept, and answered once by anybody. */
export interface From<in out A, in out E = never> {
  readonly tag: string
  readonly "~types"?: (_: [A, E]) => [A, E]
}

/** One handler for every tag of a protocol. */
export type Handlers<P, S> = {
  readonly [K in keyof P]: P[K] extends Call<infer Payload, infer A, infer E>
    ? (payload: Payload, state: S, from: From<A, E>) => CallResult<A, S> | Effect.Effect<CallResult<A, S>, E, unknown>
    : P[K] extends Cast<infer Payload>
      ? (payload: Payload, state: S) => CastResult<S> | Effect.Effect<CastResult<S>, unknown, unknown>
      : never
}

/** The services that an Effect, or an Effect among other results, needs. */
type ServicesOf<T> = T extends Effect.Effect<infer _A, infer _E, infer R> ? R : never
type HandlerServices<H> = { [K in keyof H]: H[K] extends (...args: never) => infer T ? ServicesOf<T> : never }[keyof H]

/** A server that can be started: `Args` are given to `init`, `R` is what its callbacks need. */
export interface Server<P, in Args extends ReadonlyArray<unknown>, out R> {
  readonly protocol: P
  /** The behaviour behind the protocol: `GenServer` for those made here. */
  readonly kind: string
  /** What the process runs: init and the receive loop. */
  readonly body: (args: Args) => ProcessStart["body"]
  readonly label: string | undefined
  readonly "~R"?: R
}

/**
 * Makes a server of a protocol.
 *
 * Callbacks return their result, or an Effect of it; the process handles one message after another. `info` gets whatever
 * else arrives in the mailbox: plain messages, `Process.Down`, trapped exits other than the parent's, {@link Timeout};
 * without it they are dropped. `terminate` runs when the server stops, fails, or is ended by its parent while it traps exits;
 * never when it is killed. The process's Scope is closed in every case.
 */
export const make = <
  const P extends Protocol,
  Args extends ReadonlyArray<unknown>,
  S,
  H extends Handlers<P, NoInfer<S>>,
  RInit = never,
  RInfo = never,
  Continue = never,
  RContinue = never,
  RTerminate = never
>(
  definition: P,
  server: {
    readonly label?: string
    readonly init: (...args: Args) => InitResult<S> | Effect.Effect<InitResult<S>, unknown, RInit>
    readonly handlers: H
    readonly info?: (
      message: unknown,
      state: NoInfer<S>
    ) => CastResult<NoInfer<S>> | Effect.Effect<CastResult<NoInfer<S>>, unknown, RInfo>
    readonly continue?: (
      value: Continue,
      state: NoInfer<S>
    ) => CastResult<NoInfer<S>> | Effect.Effect<CastResult<NoInfer<S>>, unknown, RContinue>
    readonly terminate?: (
      reason: ExitReason.ExitReason,
      state: NoInfer<S>
    ) => Effect.Effect<unknown, unknown, RTerminate>
  }
): Server<P, Args, RInit | HandlerServices<H> | RInfo | RContinue | RTerminate> => {
  const specs = definition as Readonly<Record<string, { readonly isError?: ((error: unknown) => boolean) | undefined }>>
  const isDeclared = (tag: string, error: unknown): boolean => specs[tag]?.isError?.(error) ?? true
  const module = {
    handlers: server.handlers,
    info: server.info,
    continue: server.continue,
    terminate: server.terminate
  } as ServerModule
  return {
    protocol: definition,
    kind: "GenServer",
    label: server.label,
    body: (args) => serve(() => server.init(...args), module, isDeclared)
  }
}

// ----------------------------------------------------------------------------
// Starting and stopping
// ----------------------------------------------------------------------------

export interface StartOptions {
  /** A local name, or one kept elsewhere. Registered before init, free again when the process has ended. */
  readonly name?: Name
  /** Shown by observers; the name or the server's label by default. */
  readonly label?: string
  /** How long init may take; no limit by default. */
  readonly timeout?: Duration.Input
}

/** A server, by its pid or by a typed name. */
export type Ref<P> = Pid.Pid<P> | NameOf<P>

/** A name that says what kind of server has it. */
export type NameOf<P> = Name & { readonly "~protocol": P }

/** Types a name. The process with this name must be such a server: a call crashes any other process, as in OTP. */
export const name = <P, Args extends ReadonlyArray<unknown>, R>(
  _server: Server<P, Args, R> | P,
  value: Name
): NameOf<P> => value as NameOf<P>

const startAs = <P, Args extends ReadonlyArray<unknown>, R>(
  linked: boolean,
  server: Server<P, Args, R>,
  args: Args,
  options: StartOptions | undefined
): Effect.Effect<Pid.Pid<P>, StartError> => {
  const label = options?.label ?? (typeof options?.name === "string" ? options.name : server.label)
  const timeout =
    options?.timeout === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(options.timeout))
  return startProcess(
    { kind: server.kind, label, name: options?.name, linked, timeout, body: server.body(args) },
    label ?? "server"
  )
}

type ArgsAndOptions<Args extends ReadonlyArray<unknown>> = [] extends Args
  ? [args?: Args, options?: StartOptions]
  : [args: Args, options?: StartOptions]

const noArgs: ReadonlyArray<never> = []

/** Starts a server linked to this process and waits for its init. */
export const startLink = <P, Args extends ReadonlyArray<unknown>, R>(
  server: Server<P, Args, R>,
  ...[args, options]: ArgsAndOptions<Args>
): Effect.Effect<Pid.Pid<P>, StartError, Exclude<R, Self | Scope.Scope> | Self> =>
  startAs(true, server, (args ?? noArgs) as Args, options)

/** Starts a server that is nobody's and waits for its init. It lives until it stops, or its actor system is closed. */
export const start = <P, Args extends ReadonlyArray<unknown>, R>(
  server: Server<P, Args, R>,
  ...[args, options]: ArgsAndOptions<Args>
): Effect.Effect<Pid.Pid<P>, StartError, Exclude<R, Self | Scope.Scope>> =>
  startAs(false, server, (args ?? noArgs) as Args, options)

/** Starts a server that belongs to a Scope: it is stopped with `Shutdown`, and awaited, when the scope closes. */
export const scoped = <P, Args extends ReadonlyArray<unknown>, R>(
  server: Server<P, Args, R>,
  ...[args, options]: ArgsAndOptions<Args>
): Effect.Effect<Pid.Pid<P>, StartError, Exclude<R, Self | Scope.Scope> | Scope.Scope> =>
  Effect.acquireRelease(startAs(false, server, (args ?? noArgs) as Args, options), (pid) =>
    shutdownAndWait(implOf(pid))
  )

/**
 * Stops a server through its `terminate` and waits until it has ended. Succeeds if it ended with exactly that reason,
 * `Normal` by default; without a `timeout` it waits as long as it takes.
 */
export const stop = <P>(
  server: Ref<P>,
  options?: { readonly reason?: ExitReason.ExitReason; readonly timeout?: Duration.Input }
): Effect.Effect<void, NoProcess | StopFailed> =>
  Effect.suspend((): Effect.Effect<void, NoProcess | StopFailed> => {
    const process = resolve(server, currentFiber())
    if (process === undefined || process.reason !== undefined) {
      const name = process === undefined ? String(server) : describe(process)
      return Exit.fail(new NoProcess({ server: name, request: "stop" }))
    }
    const reason = options?.reason ?? ExitReason.normal
    const timeout =
      options?.timeout === undefined
        ? Number.POSITIVE_INFINITY
        : Duration.toMillis(Duration.fromInputUnsafe(options.timeout))
    askToStop(process, reason)
    return Effect.flatMap(awaitDown(process, timeout), (actual) =>
      actual !== undefined && ExitReason.equals(actual, reason)
        ? Exit.void
        : Exit.fail(new StopFailed({ server: describe(process), reason: actual }))
    )
  })

// ----------------------------------------------------------------------------
// Talking to servers
// ----------------------------------------------------------------------------

export interface CallOptions {
  /** 5 seconds by default. */
  readonly timeout?: Duration.Input
}

type PayloadArgs<T, Options extends ReadonlyArray<unknown>> =
  undefined extends PayloadOf<T> ? [payload?: PayloadOf<T>, ...Options] : [payload: PayloadOf<T>, ...Options]

/** OTP's default for a call's deadline, in milliseconds. */
const defaultTimeout = 5000

/** Sends a request and waits for its reply, at most 5 seconds by default. Works in any fiber. */
export const call = <P, const K extends CallTag<P>>(
  server: Ref<P>,
  tag: K,
  ...[payload, options]: PayloadArgs<P[K], [options?: CallOptions]>
): Effect.Effect<ReplyOf<P[K]>, ErrorOf<P[K]> | CallError> =>
  callUntyped(
    server,
    tag,
    payload,
    options?.timeout === undefined ? defaultTimeout : Duration.toMillis(Duration.fromInputUnsafe(options.timeout))
  ) as Effect.Effect<ReplyOf<P[K]>, ErrorOf<P[K]> | CallError>

/** Sends a one-way message. Always succeeds, also when there is no such server. */
export const cast = <P, const K extends CastTag<P>>(
  server: Ref<P>,
  tag: K,
  ...[payload]: PayloadArgs<P[K], []>
): Effect.Effect<void> => Effect.sync(() => resolve(server, currentFiber())?.deliver(new CastLetter(tag, payload)))

/** Answers a caller that got no reply from its handler. Only the first answer counts, and a late one is dropped. */
export const replyTo = <A, E>(from: From<A, E>, value: A): Effect.Effect<void> =>
  Effect.sync(() => {
    if (from instanceof PendingCall) from.settle(Exit.succeed(value))
  })

/** Answers a caller with a declared error. */
export const failTo = <A, E>(from: From<A, E>, error: E): Effect.Effect<void> =>
  Effect.sync(() => {
    if (from instanceof PendingCall) from.settle(Exit.fail(error))
  })

export type { Name, Via }
