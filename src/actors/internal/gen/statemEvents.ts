/**
 * The events of state machines and the actions of their handlers, typed by each other.
 */
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import type * as GenServer from "../../GenServer.ts"
import type { Action as ActionImpl, TimeoutAction } from "./statem.ts"

// ----------------------------------------------------------------------------
// Protocols
// ----------------------------------------------------------------------------

/** An event that only the machine itself makes, with {@link nextEvent}. */
export interface Internal<in out Payload> {
  readonly _tag: "Internal"
  readonly "~types"?: (_: Payload) => Payload
}

/** A timeout of its own name, which nothing but its own actions cancels. */
export interface Timeout<in out Payload> {
  readonly _tag: "Timeout"
  readonly "~types"?: (_: Payload) => Payload
}

/** What the state timeout can mean. A machine has one such timer, whatever it means; a change of state cancels it. */
export interface StateTimeout<in out Payload> {
  readonly _tag: "StateTimeout"
  readonly "~types"?: (_: Payload) => Payload
}

/** What the event timeout can mean. A machine has one such timer, whatever it means; any event cancels it. */
export interface EventTimeout<in out Payload> {
  readonly _tag: "EventTimeout"
  readonly "~types"?: (_: Payload) => Payload
}

/** The events of a machine, by tag. */
export type Protocol = Readonly<
  Record<string, { readonly _tag: "Call" | "Cast" | "Internal" | "Timeout" | "StateTimeout" | "EventTimeout" }>
>

/** Declares an event that only the machine itself makes. */
export const Internal = <Payload = void>(): Internal<Payload> => ({ _tag: "Internal" })

/** Declares a timeout of its own name. */
export const Timeout = <Payload = void>(): Timeout<Payload> => ({ _tag: "Timeout" })

/** Declares a meaning of the state timeout. */
export const StateTimeout = <Payload = void>(): StateTimeout<Payload> => ({ _tag: "StateTimeout" })

/** Declares a meaning of the event timeout. */
export const EventTimeout = <Payload = void>(): EventTimeout<Payload> => ({ _tag: "EventTimeout" })

/** Declares a protocol. */
export const protocol = <const P extends Protocol>(definition: P): P => definition

type AnyTimeout<Payload> = Timeout<Payload> | StateTimeout<Payload> | EventTimeout<Payload>

/** What an event carries. */
export type PayloadOf<T> =
  T extends GenServer.Call<infer P, infer _A, infer _E>
    ? P
    : T extends GenServer.Cast<infer P> | Internal<infer P> | AnyTimeout<infer P>
      ? P
      : never

export type TagOf<P, Kind extends string> = {
  [K in keyof P]: P[K] extends { readonly _tag: Kind } ? K : never
}[keyof P] &
  string

/** The tags of a protocol that are timeouts of any kind. */
export type TimeoutTag<P> = TagOf<P, "Timeout" | "StateTimeout" | "EventTimeout">

/** The tags of a protocol that {@link nextEvent} can insert. */
export type InsertTag<P> = TagOf<P, "Call" | "Cast" | "Internal">

// ----------------------------------------------------------------------------
// Actions
// ----------------------------------------------------------------------------

/** Answers a caller, at once. */
export interface Reply {
  readonly _tag: "Reply"
}

/** Keeps the event for after the next change of state. */
export interface Postpone {
  readonly _tag: "Postpone"
}

/** Inserts an event before all that are queued. */
export interface NextEvent<out Tag, out Payload> {
  readonly _tag: "NextEvent"
  readonly tag: Tag
  readonly payload: Payload
}

/** Starts a timeout, or changes what it carries. */
export interface SetTimeout<out Tag, out Payload> {
  readonly _tag: "Timeout"
  readonly tag: Tag
  readonly payload: Payload
}

/** What an enter call may ask for. */
export type EnterAction<P> = Reply | { [K in TimeoutTag<P>]: SetTimeout<K, PayloadOf<P[K]> | undefined> }[TimeoutTag<P>]

/** What a handler may ask for. */
export type Action<P> =
  | EnterAction<P>
  | Postpone
  | NextEvent<undefined, unknown>
  | { [K in InsertTag<P>]: NextEvent<K, PayloadOf<P[K]>> }[InsertTag<P>]

const replyAction = (from: unknown, exit: Exit.Exit<unknown, unknown>): Reply =>
  ({ _tag: "Reply", from, exit }) as Reply

type ValueArgs<A> = undefined extends A ? [value?: A] : [value: A]

/** Answers a caller. It is answered at once, before the state changes and before any enter call. */
export const reply = <A, E>(from: GenServer.From<A, E>, ...[value]: ValueArgs<NoInfer<A>>): Reply =>
  replyAction(from, Exit.succeed(value))

/** Answers a caller with a declared error. */
export const failReply = <A, E>(from: GenServer.From<A, E>, error: NoInfer<E>): Reply =>
  replyAction(from, Exit.fail(error))

const postponeAction: ActionImpl = { _tag: "Postpone", postpone: true }

/**
 * Keeps the event and offers it again after the next change of state. Postponed events come back in the order in which they
 * were first offered, and before all that are queued.
 */
export const postpone: Postpone = postponeAction as Postpone

const doNotPostponeAction: ActionImpl = { _tag: "Postpone", postpone: false }

/** Takes back a {@link postpone} that stands before it in the same result. */
export const doNotPostpone: Postpone = doNotPostponeAction as Postpone

const insertion = <Tag extends string | undefined>(tag: Tag, payload: unknown, from: unknown) => ({
  _tag: "NextEvent" as const,
  tag,
  payload,
  from
})

/**
 * Inserts an event before all that are queued; several in one result keep their order. A request is inserted with the caller
 * that it is to answer.
 */
export function nextEvent<const Tag extends string>(tag: Tag): NextEvent<Tag, undefined>
export function nextEvent<const Tag extends string, Payload>(tag: Tag, payload: Payload): NextEvent<Tag, Payload>
export function nextEvent<const Tag extends string, Payload, A, E>(
  tag: Tag,
  payload: Payload,
  from: GenServer.From<A, E>
): NextEvent<Tag, Payload>
export function nextEvent(tag: string, payload?: unknown, from?: unknown): NextEvent<string, unknown> {
  return insertion(tag, payload, from)
}

/** Inserts a plain message, for `info`, before all events that are queued. */
export const nextInfo = (message: unknown): NextEvent<undefined, unknown> => insertion(undefined, message, undefined)

const timeoutAction = <Tag extends string, Payload>(tag: Tag, time: TimeoutAction["time"], payload: Payload) =>
  ({ _tag: "Timeout", tag, payload, time }) as const satisfies TimeoutAction

/**
 * Starts the timer that a timeout belongs to, or restarts it. Its event comes as a handler's call of that tag.
 *
 * A time of zero needs no timer: its event comes when everything queued and inserted has been handled, before anything else
 * that is still in the mailbox. An infinite one only cancels. Of several actions for one timer the last counts.
 */
export function startTimeout<const Tag extends string>(tag: Tag, after: Duration.Input): SetTimeout<Tag, undefined>
export function startTimeout<const Tag extends string, Payload>(
  tag: Tag,
  after: Duration.Input,
  payload: Payload
): SetTimeout<Tag, Payload>
export function startTimeout(tag: string, after: Duration.Input, payload?: unknown): SetTimeout<string, unknown> {
  return timeoutAction(tag, Duration.toMillis(Duration.fromInputUnsafe(after)), payload)
}

/** Stops the timer that a timeout belongs to, and drops its event if that was already there. */
export const cancelTimeout = <const Tag extends string>(tag: Tag): SetTimeout<Tag, undefined> =>
  timeoutAction(tag, Number.POSITIVE_INFINITY, undefined)

/** Changes what a running timeout means and carries, but not its time. If it does not run, it comes at once, as after a time of zero. */
export const updateTimeout = <const Tag extends string, Payload = undefined>(
  tag: Tag,
  payload?: Payload
): SetTimeout<Tag, Payload | undefined> => timeoutAction(tag, "update", payload)
