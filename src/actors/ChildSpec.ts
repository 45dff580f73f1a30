/**
 * Child specs: what a supervisor starts, and how it treats it; also part of `Supervisor`.
 *
 * A child is described by a spec whose `start` gives a pid, or made of a server, of an Effect that is to run as a process, or of a
 * Layer.
 *
 * **Example** (A server and an Effect)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { GenServer, Supervisor } from "vmtest/actors"
 *
 * const Greeter = GenServer.make(GenServer.protocol({ greet: GenServer.Call<string, string>() }), {
 *   init: (word: string) => GenServer.ok(word),
 *   handlers: { greet: (name, word) => GenServer.reply(`${word} ${name}`, word) }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* Supervisor.scoped({
 *       children: [
 *         Supervisor.server("greeter", Greeter, ["hello"], { name: "greeter" }),
 *         Supervisor.child("idle", Effect.never, { restart: "temporary", shutdown: "1 second" })
 *       ]
 *     })
 *     return yield* GenServer.call(GenServer.name(Greeter, "greeter"), "greet", "Ada")
 *   })
 * )
 * // gives "hello Ada"
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as GenServer from "./GenServer.ts"
import { implOf, type Self } from "./internal/process/process.ts"
import { Start } from "./internal/process/start.ts"
import { Provided } from "./internal/supervise/children.ts"
import { Started } from "./internal/supervise/childStart.ts"
import type * as Pid from "./Pid.ts"

export type { Started }

/** `permanent`: always restarted. `transient`: when it ended abnormally. `temporary`: never, and forgotten. */
export type Restart = "permanent" | "transient" | "temporary"

/** How a child is stopped: `brutalKill` kills it at once; otherwise it gets `shutdown`, and `kill` if it takes longer than this. */
export type Shutdown = "brutalKill" | "infinity" | Duration.Input

export interface ChildOptions {
  /** `permanent` by default. */
  readonly restart?: Restart
  /** 5 seconds by default; `infinity` for a supervisor. */
  readonly shutdown?: Shutdown
  /** `worker` by default. */
  readonly type?: "worker" | "supervisor"
  /** Whether its own end counts for `autoShutdown`; `false` by default. */
  readonly significant?: boolean
  /** Any names, shown by `whichChildren`. */
  readonly modules?: ReadonlyArray<string> | "dynamic"
}

/**
 * One child. `start` must start a process linked to the supervisor (`startLink`) and give its pid, or {@link started} to
 * tell the one who asked for the child something more. Failing with `GenServer.Ignored` is not a failure.
 */
export interface ChildSpec<out R = never, out Services = never> extends ChildOptions {
  readonly id: string
  readonly start: Effect.Effect<Pid.Any | Started, unknown, R>
  readonly "~services"?: () => Services
}

/** The one template of `simpleOneForOne`: `start` gets the arguments of `startChild`. */
export interface Template<in Args extends ReadonlyArray<never>, out R = never> extends ChildOptions {
  readonly id: string
  readonly start: (...args: Args) => Effect.Effect<Pid.Any | Started, unknown, R>
}

type RequirementsOf<C> = C extends { readonly start: infer St }
  ? St extends Effect.Effect<infer _A, infer _E, infer R>
    ? R
    : St extends (...args: never) => Effect.Effect<infer _A, infer _E, infer R>
      ? R
      : never
  : never

type Built<C> = "~services" extends keyof C ? (C extends { readonly "~services"?: () => infer S } ? S : never) : never

/** Any child. */
export type AnyChild = ChildSpec<unknown, unknown> | Template<ReadonlyArray<never>, unknown>

/** The services that the Layer children of a list build. */
export type ServicesOf<Children extends ReadonlyArray<unknown>> = Built<Children[number]>

/**
 * What the children of a list need from outside: not what they find in their process, and not what the siblings before them build.
 *
 * **Gotchas**
 *
 * Only a list that is written in place, or `as const`, has an order that its type knows. In any other array a child counts on no
 * sibling.
 */
export type Required<Children extends ReadonlyArray<unknown>> = Needed<Children, Self | Scope.Scope, never>

/** Takes children from the front, and those after a spread array from the back. */
type Needed<Children extends ReadonlyArray<unknown>, Given, Found> = Children extends readonly [
  infer First,
  ...infer Rest
]
  ? Needed<Rest, Given | Built<First>, Found | Exclude<RequirementsOf<First>, Given>>
  : Children extends readonly [...infer Rest, infer Last]
    ? Needed<Rest, Given, Found | Exclude<RequirementsOf<Last>, Given | BuiltBack<Rest, never>>>
    : Found | Exclude<RequirementsOf<Children[number]>, Given>

/** What the children at the end of a list build, back to the spread array. */
type BuiltBack<Children extends ReadonlyArray<unknown>, Found> = Children extends readonly [...infer Rest, infer Last]
  ? BuiltBack<Rest, Found | Built<Last>>
  : Found

/** A pid with something to tell the one who asked for the child. */
export const started = (pid: Pid.Any, info: unknown): Started => new Started(implOf(pid), info)

/** A server as a child. */
export const server = <P, Args extends ReadonlyArray<unknown>, R>(
  id: string,
  definition: GenServer.Server<P, Args, R>,
  args: Args,
  options?: ChildOptions & GenServer.StartOptions
): ChildSpec<Exclude<R, Self | Scope.Scope> | Self> => ({
  ...options,
  id,
  start: GenServer.startLink<P, ReadonlyArray<unknown>, R>(
    definition as GenServer.Server<P, ReadonlyArray<unknown>, R>,
    args,
    options
  )
})

const startBody = (
  id: string,
  body: (done: (info?: unknown) => void) => Effect.Effect<unknown, unknown>
): Effect.Effect<Started, GenServer.StartError> =>
  new Start(
    {
      kind: "process",
      label: id,
      name: undefined,
      linked: true,
      timeout: undefined,
      body: (_, init) => body((info) => init.done(info))
    },
    id,
    (process, info) => new Started(process, info)
  )

/**
 * An Effect as a child: it is the body of a process, which counts as started at once and ends with the Effect. Its Scope is
 * the process's.
 */
export const child = <A, E, R>(
  id: string,
  body: Effect.Effect<A, E, R>,
  options?: ChildOptions
): ChildSpec<Exclude<R, Self | Scope.Scope> | Self> => ({
  ...options,
  id,
  start: startBody(id, (done) =>
    Effect.suspend(() => {
      done()
      return body as Effect.Effect<A, E>
    })
  )
})

/** How a Layer is a child. */
export interface LayerOptions<Build extends "start" | "continue"> extends ChildOptions {
  /**
   * When the layer is built. `start`, the default: the child counts as started when its layer is built. `continue`: the child
   * counts as started at once and builds its layer afterwards, as a server does that works in `handle_continue`.
   */
  readonly build?: Build
}

/** Builds a layer in the process's Scope, with a memo map of its own: a restarted child must not find its predecessor's services. */
const build = <Out, E>(layer: Layer.Layer<Out, E>): Effect.Effect<Context.Context<never>, E> =>
  Effect.flatMap(
    Effect.scope,
    (scope): Effect.Effect<Context.Context<never>, E> =>
      Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope) as Effect.Effect<Context.Context<never>, E>
  ) as Effect.Effect<Context.Context<never>, E>

/**
 * A Layer as a child: a process that builds it, counts as started when it is built, and holds its resources until it is
 * stopped. Its services are given to the children started after it, and to `Supervisor.service`; a restart builds them again.
 *
 * **Details**
 *
 * With `build: "continue"` the child counts as started at once and its layer is built afterwards, in the child's own process,
 * while the supervisor starts the next children and answers requests. Until it is built it is a running child without
 * services; then `Supervisor.service` finds them. Later siblings and `Supervisor.layer` do not get them, and its type does not promise
 * them. A build that fails ends the process with that cause: a crash, to which the child's `restart` applies, not a
 * failed start. One that calls `Process.exit(ExitReason.shutdown)` ends it in order. Stopping the child interrupts the build.
 *
 * **Example** (A slow connection that delays nobody)
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { Supervisor } from "vmtest/actors"
 *
 * class Connection extends Context.Service<Connection, { readonly number: number }>()("Connection") {}
 *
 * const slow = Layer.effect(Connection, Effect.as(Effect.sleep("20 millis"), { number: 1 }))
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const supervisor = yield* Supervisor.scoped({
 *       children: [Supervisor.childLayer("connection", slow, { build: "continue", restart: "transient" })]
 *     })
 *     const early = yield* Effect.flip(Supervisor.service(supervisor, Connection))
 *     yield* Effect.sleep("100 millis")
 *     return [early._tag, (yield* Supervisor.service(supervisor, Connection)).number]
 *   })
 * )
 * // gives ["NoProcess", 1]
 * ```
 */
export const childLayer = <Out, E, R, Build extends "start" | "continue" = "start">(
  id: string,
  layer: Layer.Layer<Out, E, R>,
  options?: LayerOptions<Build>
): ChildSpec<Exclude<R, Self | Scope.Scope> | Self, "continue" extends Build ? never : Out> => {
  const { build: when, ...childOptions } = options ?? {}
  const built = build(layer as Layer.Layer<Out, E>)
  return {
    ...childOptions,
    id,
    start: startBody(id, (done) => {
      if (when !== "continue") {
        return Effect.flatMap(built, (services) => {
          done(new Provided(services))
          return Effect.never
        })
      }
      const provided = new Provided(undefined)
      done(provided)
      return Effect.flatMap(built, (services) => {
        provided.services = services
        return Effect.never
      })
    })
  }
}
