/**
 * What a test does with a machine: reported as events, traced as spans, and ended by the machine's death.
 *
 * Every method is a span of its name, such as `vmtest.waitForUnit`, and every command that is run for one a span `vmtest.execute`. Their
 * attributes are what somebody would search by: `vmtest.machine`, `vmtest.command`, `vmtest.exit_code`, `vmtest.unit`, `vmtest.port`,
 * `vmtest.path`, `vmtest.awaited`. An application that provides a `Tracer` sees a test as one trace. A span costs about 4 microseconds.
 *
 * **Example** (A method that is one action)
 *
 * ```ts
 * const action = { name: "block", doing: "pulling cables", attributes: { vlan: 1 } }
 * guard(guest, action, hypervisor.setLink(1, false))
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { disconnect } from "./Disconnect.ts"
import type { CutShort, Guest } from "./Guest.ts"
import { type BootFailed, MachineDied } from "./MachineError.ts"
import { type MachineEvent, mostText } from "./MachineEvent.ts"
import { explainPause } from "./Paused.ts"

/** The attributes of a span, without the prefix `vmtest.`; those that are undefined are left out. */
export type Attributes = Readonly<Record<string, string | number | undefined>>

/** The span of a method of the machine: `vmtest.<name>`. */
export interface Span {
  readonly name: string
  readonly attributes?: Attributes | undefined
}

/** What a test does, with a span of its own. */
export interface Action extends Span {
  /** Completes "the test is …": `running "uname"`. */
  readonly doing: string
  /** The whole command that it runs. */
  readonly command?: string | undefined
}

const spanOptions = (guest: Guest, { attributes }: Span) => {
  const all: Record<string, string | number> = { "vmtest.machine": guest.name }
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== undefined) all[`vmtest.${name}`] = value
  // A stack costs more than the rest of the span, and would show these lines instead of the test's.
  return { attributes: all, captureStackTrace: false } as const
}

/** Traces a method that is made of several actions, or fails after the last. */
export const traced = <A, E, R>(guest: Guest, span: Span, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withSpan(effect, `vmtest.${span.name}`, spanOptions(guest, span))

/** Traces a stream, from its first pull to its end. */
export const tracedStream = <A, E, R>(
  guest: Guest,
  span: Span,
  stream: Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> => Stream.withSpan(stream, `vmtest.${span.name}`, spanOptions(guest, span))

/** The action around a fiber. */
const Around = Context.Reference<number | undefined>("vmtest/guest/Action", { defaultValue: () => undefined })

let last = 0

/** A text of an event: one that is long without its middle, and as a copy, because a part of a text keeps the whole in memory. */
const bounded = (text: string): string => {
  if (text.length <= mostText) return text
  const half = mostText / 2
  const cut = `${text.slice(0, half)}\n… ${text.length - mostText} characters are left out …\n${text.slice(-half)}`
  return Buffer.from(cut).toString()
}

/** What the end of an action says of it. */
type Ending = Omit<
  Extract<MachineEvent, { readonly _tag: "ActionEnded" }>,
  "_tag" | "machine" | "action" | "id" | "millis"
>

const textIn = (value: object, name: "stdout" | "stderr"): object => {
  const text = Predicate.hasProperty(value, name) ? value[name] : undefined
  return typeof text === "string" ? { [name]: bounded(text) } : {}
}

/** What a command has come to. */
const endOfCommand = (value: unknown): Ending => {
  if (!Predicate.hasProperty(value, "exitCode") || typeof value.exitCode !== "number")
    return { failed: false, outcome: "" }
  const { exitCode } = value
  const said = { ...textIn(value, "stdout"), ...textIn(value, "stderr") }
  return { failed: false, outcome: `exit code ${exitCode}`, exitCode, ...said }
}

const endOf = (exit: Exit.Exit<unknown, unknown>): Ending => {
  if (Exit.isSuccess(exit)) return endOfCommand(exit.value)
  // Effect's own words for an interruption are about fibers.
  const message = Cause.hasInterruptsOnly(exit.cause) ? undefined : Cause.prettyErrors(exit.cause)[0]?.message
  if (message === undefined) return { failed: true, outcome: "interrupted" }
  return { failed: true, outcome: message.split("\n")[0] ?? "", error: bounded(message) }
}

/** Reports that an action starts; gives what reports how it ended, and the action's number. */
const begin = Effect.fnUntraced(function* (guest: Guest, action: string, command?: string) {
  const started = yield* Clock.currentTimeMillis
  const id = ++last
  const within = yield* Around
  yield* guest.emit({
    ...{ _tag: "ActionStarted", machine: guest.name, action, id },
    ...(within === undefined ? {} : { within }),
    ...(command === undefined ? {} : { command: bounded(command) })
  })
  const end = Effect.fnUntraced(function* (exit: Exit.Exit<unknown, unknown>) {
    const ended = endOf(exit)
    if (ended.exitCode !== undefined) yield* Effect.annotateCurrentSpan("vmtest.exit_code", ended.exitCode)
    const millis = (yield* Clock.currentTimeMillis) - started
    yield* guest.emit({ _tag: "ActionEnded", machine: guest.name, action, id, millis, ...ended })
  })
  return { id, end }
})

/** Reports when an action starts and how it ends, and traces it. A string is a part of a method that is traced as a whole. */
export const action = <A, E, R>(
  guest: Guest,
  what: Action | string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const { command, doing } = typeof what === "string" ? { command: undefined, doing: what } : what
  const reported = Effect.flatMap(begin(guest, doing, command), ({ end, id }) =>
    Effect.onExit(Effect.provideService(effect, Around, id), end)
  )
  return typeof what === "string" ? reported : traced(guest, what, reported)
}

/**
 * How long after a broken socket to wait for the machine's death, which explains it better. Emulation (a `timeScale` of 3) slows down the guest, but not the
 * news of its hypervisor; a host that is slower still also needs longer for these.
 */
const deathGrace = (timeScale: number) => Duration.millis(Math.max(500, 150 * timeScale))

/** Lets an effect lose against the machine's death; `doing` completes "while the test was …". */
export const raceDeath = <A, E, R>(
  guest: Guest,
  doing: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | MachineDied | BootFailed, R> =>
  Effect.raceFirst(
    // When a hypervisor dies its sockets break first.
    Effect.catch(explainPause(guest.isPaused, disconnect(effect)), (error) =>
      isLoss(error)
        ? guest.shellLost.pipe(
            Effect.andThen(Effect.sleep(deathGrace(guest.backend.timeScale))),
            Effect.andThen(Effect.fail(error))
          )
        : Effect.fail(error)
    ),
    Effect.mapError(guest.died, (error) =>
      error._tag === "MachineDied" ? new MachineDied({ ...error, doing }) : error
    )
  )

/** Reports and traces an action, and lets it lose against the machine's death and the test's polling conditions. */
export const guard = <A, E, R>(
  guest: Guest,
  what: Action | string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CutShort, R> =>
  action(guest, what, guest.conditions.guard(raceDeath(guest, typeof what === "string" ? what : what.doing, effect)))

/** Lets a stream lose against the machine's death and against the test's polling conditions. */
export const raceDeathStream = <A, E>(
  guest: Guest,
  doing: string,
  stream: Stream.Stream<A, E>
): Stream.Stream<A, E | CutShort> =>
  stream.pipe(
    // When a hypervisor dies its sockets break first.
    Stream.catch((error) => Stream.fromEffect(raceDeath(guest, doing, Effect.fail(error)))),
    Stream.interruptWhen(guest.conditions.guard(raceDeath(guest, doing, Effect.never)))
  )

/** `guard` for a stream; the last element is what tells how it ended. */
export const guardStream = <A, E>(
  guest: Guest,
  what: Action,
  stream: Stream.Stream<A, E>
): Stream.Stream<A, E | CutShort> => {
  let last: A | undefined
  const noted = Stream.tap(stream, (element) =>
    Effect.sync(() => {
      last = element
    })
  )
  const reported = Effect.map(begin(guest, what.doing, what.command), ({ end }) =>
    Stream.onExit(raceDeathStream(guest, what.doing, noted), (exit) => end(Exit.map(exit, () => last)))
  )
  return tracedStream(guest, what, Stream.unwrap(reported))
}

const losses = new Set(["ShellLost", "TransportError", "ShellNotReady"])

/** Whether this may be the first sign of a machine's end. QEMU answers only while it runs; its console just closes. */
const isLoss = (error: unknown): boolean =>
  Predicate.hasProperty(error, "_tag") &&
  (losses.has(String(error._tag)) || (Predicate.hasProperty(error, "class") && error.class === "ConsoleClosed"))
