/**
 * State machines: one set of handlers a state, transitions, postponed events and timeouts, as Erlang's gen_statem.
 *
 * **Details**
 *
 * A state is a member of a tagged union: its `_tag` is gen_statem's state, the rest is its data, which is narrowed in the
 * state's own handlers. A protocol declares every event: requests and messages as for a generic server, and besides them
 * the machine's own, {@link Internal} events and three kinds of timeouts. Callers use the machine like any server, with
 * {@link call}, {@link cast} and {@link stop}.
 *
 * A *change of state* is a transition to another `_tag`. It brings the postponed events back, oldest first and before all
 * that is queued, cancels the state timeout, and calls the new state's `enter`. Any event cancels the event timeout.
 *
 * Hibernation is left out, for it changes nothing but memory, and so are absolute times.
 *
 * **Example** (A door)
 *
 * ```ts
 * import { Data, Effect, Fiber } from "effect"
 * import { GenStatem } from "vmtest/actors"
 *
 * class WrongCode extends Data.TaggedError("WrongCode") {}
 *
 * type Door = { readonly _tag: "Locked"; readonly tries: number } | { readonly _tag: "Open" }
 *
 * const DoorProtocol = GenStatem.protocol({
 *   unlock: GenStatem.Call<string, void, WrongCode>(),
 *   walkThrough: GenStatem.Call<void, string>(),
 *   lock: GenStatem.StateTimeout()
 * })
 * const Door = GenStatem.make<Door>()(DoorProtocol, {
 *   init: () => GenStatem.ok({ _tag: "Locked", tries: 0 }),
 *   states: {
 *     Locked: {
 *       handlers: {
 *         unlock: (code, door, from) =>
 *           code === "1234"
 *             ? GenStatem.nextState({ _tag: "Open" }, GenStatem.reply(from))
 *             : GenStatem.keepState({ ...door, tries: door.tries + 1 }, GenStatem.failReply(from, new WrongCode())),
 *         walkThrough: () => GenStatem.keepStateAndData(GenStatem.postpone)
 *       }
 *     },
 *     Open: {
 *       enter: () => GenStatem.keepStateAndData(GenStatem.startTimeout("lock", "10 seconds")),
 *       handlers: {
 *         unlock: (_code, _door, from) => GenStatem.keepStateAndData(GenStatem.reply(from)),
 *         walkThrough: (_, _door, from) => GenStatem.keepStateAndData(GenStatem.reply(from, "inside")),
 *         lock: () => GenStatem.nextState({ _tag: "Locked", tries: 0 })
 *       }
 *     }
 *   }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const door = yield* GenStatem.scoped(Door)
 *     const visitor = yield* Effect.forkChild(GenStatem.call(door, "walkThrough"), { startImmediately: true })
 *     yield* GenStatem.call(door, "unlock", "1234")
 *     return yield* Fiber.join(visitor)
 *   })
 * )
 * // gives "inside"
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as ExitReason from "./ExitReason.ts"
import type * as GenServer from "./GenServer.ts"
import {
  type Action as ActionImpl,
  eventTimer,
  keepStateAndData as keepEverything,
  type State,
  StatemInit,
  type StatemModule,
  serveStatem,
  stateTimer,
  Transition
} from "./internal/gen/statem.ts"
import type {
  Action,
  EnterAction,
  NextEvent,
  PayloadOf,
  Postpone,
  Protocol,
  Reply,
  SetTimeout,
  TagOf
} from "./internal/gen/statemEvents.ts"

export type {
  /** A caller that waits for an answer. */
  From,
  /** What a machine can be found by. */
  Name,
  /** A machine, by its pid or by a typed name. */
  Ref
} from "./GenServer.ts"
export {
  /** Declares a request. */
  Call,
  /** Declares a one-way message. */
  Cast,
  /** Sends a request and waits for its reply, at most 5 seconds by default. */
  call,
  /** Sends a one-way message. */
  cast,
  /** There is nothing to do for this machine: its start fails with `Ignored`. */
  ignore,
  /** Init failed: the start fails with `InitFailed`. */
  initStop,
  /** Types a name. */
  name,
  /** Starts a machine that belongs to a Scope. */
  scoped,
  /** Starts a machine that is nobody's. */
  start,
  /** Starts a machine linked to this process. */
  startLink,
  /** Stops a machine from outside, through its `terminate`. */
  stop
} from "./GenServer.ts"

export * from "./internal/gen/statemEvents.ts"

// ----------------------------------------------------------------------------
// Results of handlers
// ----------------------------------------------------------------------------

export interface NextState<out S, out A> {
  readonly _tag: "NextState"
  readonly state: S
  readonly "~action"?: A
}
export interface KeepState<out D, out A> {
  readonly _tag: "KeepState" | "KeepStateAndData" | "RepeatState" | "RepeatStateAndData"
  readonly state: D | undefined
  readonly "~action"?: A
}
export interface Stop<out D> {
  readonly _tag: "Stop" | "StopAndReply"
  readonly state: D | undefined
}

/** The member of a union of states that has this name. */
export type Variant<S, N> = Extract<S, { readonly _tag: N }>

/** What the handler of an event in state `N` may return. */
export type Result<P, S, N> = NextState<S, Action<P>> | KeepState<Variant<S, N>, Action<P>> | Stop<Variant<S, N>>

/** What an enter call of state `N` may return. It cannot change the state, postpone, or insert events. */
export type EnterResult<P, S, N> = KeepState<Variant<S, N>, EnterAction<P>> | Stop<Variant<S, N>>

/** What `init` may return. */
export interface InitResult<out S, out A> extends GenServer.InitResult<S> {
  readonly "~action"?: A
}

type AnyAction = Reply | Postpone | NextEvent<unknown, unknown> | SetTimeout<unknown, unknown>

const toActions = (actions: ReadonlyArray<AnyAction>) => actions as ReadonlyArray<ActionImpl>

const transition = (
  tag: Transition["_tag"],
  state: State | undefined,
  actions: ReadonlyArray<AnyAction>,
  reason?: ExitReason.ExitReason
): unknown => new Transition(tag, state, toActions(actions), reason)

/** Init succeeded: the machine starts in this state, by its enter call. The starter is answered before that. */
export const ok = <const S extends State, const A extends ReadonlyArray<AnyAction>>(
  state: S,
  ...actions: A
): InitResult<S, A[number]> => new StatemInit(state, toActions(actions))

/** Goes to a state; to the one it is in already, it is {@link keepState}. */
export const nextState = <const S extends State, const A extends ReadonlyArray<AnyAction>>(
  state: S,
  ...actions: A
): NextState<S, A[number]> => transition("NextState", state, actions) as NextState<S, A[number]>

/** Stays in the state, with new data. */
export const keepState = <const D extends State, const A extends ReadonlyArray<AnyAction>>(
  state: D,
  ...actions: A
): KeepState<D, A[number]> => transition("KeepState", state, actions) as KeepState<D, A[number]>

/** Stays in the state, with the same data. */
export const keepStateAndData = <const A extends ReadonlyArray<AnyAction>>(
  ...actions: A
): KeepState<never, A[number]> =>
  (actions.length === 0 ? keepEverything : transition("KeepStateAndData", undefined, actions)) as KeepState<
    never,
    A[number]
  >

/** Stays in the state, with new data, and enters it again. This does not count as a change of state. */
export const repeatState = <const D extends State, const A extends ReadonlyArray<AnyAction>>(
  state: D,
  ...actions: A
): KeepState<D, A[number]> => transition("RepeatState", state, actions) as KeepState<D, A[number]>

/** Stays in the state, with the same data, and enters it again. This does not count as a change of state. */
export const repeatStateAndData = <const A extends ReadonlyArray<AnyAction>>(
  ...actions: A
): KeepState<never, A[number]> => transition("RepeatStateAndData", undefined, actions) as KeepState<never, A[number]>

/** Ends the machine, through `terminate`; with `Normal` by default. */
export function stopWith(reason?: ExitReason.ExitReason): Stop<never>
export function stopWith<const D extends State>(reason: ExitReason.ExitReason, state: D): Stop<D>
export function stopWith(reason?: ExitReason.ExitReason, state?: State): unknown {
  return transition("Stop", state, [], reason)
}

/** Answers callers, then ends the machine through `terminate`. */
export function stopAndReply(reason: ExitReason.ExitReason, replies: ReadonlyArray<Reply>): Stop<never>
export function stopAndReply<const D extends State>(
  reason: ExitReason.ExitReason,
  replies: ReadonlyArray<Reply>,
  state: D
): Stop<D>
export function stopAndReply(reason: ExitReason.ExitReason, replies: ReadonlyArray<Reply>, state?: State): unknown {
  return transition("StopAndReply", state, replies, reason)
}

// ----------------------------------------------------------------------------
// Machines
// ----------------------------------------------------------------------------

type OrEffect<A, E> = A | Effect.Effect<A, E, unknown>

/** The handler of one event in state `N`. */
export type Handler<P, S, N, T> =
  T extends GenServer.Call<infer Payload, infer A, infer E>
    ? (payload: Payload, state: Variant<S, N>, from: GenServer.From<A, E>) => OrEffect<Result<P, S, N>, E>
    : (payload: PayloadOf<T>, state: Variant<S, N>) => OrEffect<Result<P, S, N>, unknown>

type OwnTimeout = "StateTimeout" | "EventTimeout"

/**
 * The handlers of state `N`: one for every event that can arrive in any state. State and event timeouts only arrive in the
 * state that started them, so other states need no handler.
 */
export type Handlers<P, S, N> = {
  readonly [K in Exclude<keyof P & string, TagOf<P, OwnTimeout>>]: Handler<P, S, N, P[K]>
} & { readonly [K in TagOf<P, OwnTimeout>]?: Handler<P, S, N, P[K]> }

/** The callbacks of every state. */
export type States<P, S extends State> = {
  readonly [N in S["_tag"]]: {
    /** Called when the state is entered, with the state before; for the first state that is the state itself. */
    readonly enter?: (state: Variant<S, N>, previous: S) => OrEffect<EnterResult<P, S, N>, unknown>
    readonly handlers: Handlers<P, S, N>
    /** Gets whatever else arrives: plain messages, `Process.Down`, trapped exits other than the parent's. */
    readonly info?: (message: unknown, state: Variant<S, N>) => OrEffect<Result<P, S, N>, unknown>
  }
}

type Services<F> = F extends (...args: never) => infer T
  ? T extends Effect.Effect<infer _A, infer _E, infer R>
    ? R
    : never
  : never
type StateServices<H> = {
  [N in keyof H]:
    | (H[N] extends { readonly enter: infer F } ? Services<F> : never)
    | (H[N] extends { readonly info: infer F } ? Services<F> : never)
    | (H[N] extends { readonly handlers: infer T } ? { [K in keyof T]: Services<T[K]> }[keyof T] : never)
}[keyof H]

/**
 * Makes a state machine: `GenStatem.make<States>()(protocol, callbacks)`.
 *
 * Callbacks return their result, or an Effect of it. A request's handler may fail with an error that the protocol declares:
 * the caller gets it, and the machine stays as it is. Anything else that goes wrong ends the machine, through `terminate`,
 * which gets the state of before the event. `terminate` runs as for a generic server.
 */
export const make =
  <S extends State>() =>
  <
    const P extends Protocol,
    Args extends ReadonlyArray<unknown>,
    H extends States<P, S>,
    RInit = never,
    RTerminate = never
  >(
    definition: P,
    machine: {
      readonly label?: string
      readonly init: (
        ...args: Args
      ) => InitResult<S, EnterAction<P> | Action<P>> | Effect.Effect<InitResult<S, Action<P>>, unknown, RInit>
      readonly states: H
      readonly terminate?: (reason: ExitReason.ExitReason, state: S) => Effect.Effect<unknown, unknown, RTerminate>
    }
  ): GenServer.Server<P, Args, RInit | StateServices<H> | RTerminate> => {
    const specs = definition as Readonly<
      Record<string, { readonly _tag: string; readonly isError?: ((error: unknown) => boolean) | undefined }>
    >
    const callbacks: { readonly states: unknown; readonly terminate?: unknown } = machine
    const module: StatemModule = {
      states: callbacks.states as StatemModule["states"],
      terminate: callbacks.terminate as StatemModule["terminate"],
      timerOf: (tag: string) => {
        const kind = specs[tag]?._tag
        return kind === stateTimer || kind === eventTimer ? kind : `Timeout ${tag}`
      },
      isDeclared: (tag: string, error: unknown) => specs[tag]?.isError?.(error) ?? true
    }
    return {
      protocol: definition,
      kind: "GenStatem",
      label: machine.label,
      body: (args) => serveStatem(() => machine.init(...args), module)
    }
  }
