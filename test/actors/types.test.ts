/**
 * What must not compile, and what types come out. The compiler is the test: `tsc` fails when a `@ts-expect-error` is not an error.
 */
import { describe, expectTypeOf, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"

class TooMuch extends Data.TaggedError("TooMuch") {}
class Other extends Data.TaggedError("Other") {}
class Db extends Context.Service<Db, number>()("test/Db") {}

const protocol = GenServer.protocol({
  add: GenServer.Call<number, string, TooMuch>(),
  get: GenServer.Call<void, number>(),
  reset: GenServer.Cast<{ readonly to: number }>()
})

const server = GenServer.make(protocol, {
  init: (start: number) => GenServer.ok(start),
  handlers: {
    add: (n, state) => (n > 9 ? Effect.fail(new TooMuch()) : GenServer.reply("ok", state + n)),
    get: (_, state) => Effect.map(Db, (db) => GenServer.reply(db, state)),
    reset: ({ to }) => GenServer.noReply(to)
  }
})

declare const pid: Pid.Pid<typeof protocol>

describe("calls", () => {
  it("have the reply, exactly the declared errors, and the ways to end without a reply", () => {
    const add = () => GenServer.call(pid, "add", 1)
    expectTypeOf(add).returns.toEqualTypeOf<
      Effect.Effect<
        string,
        TooMuch | GenServer.NoProcess | GenServer.CallTimeout | GenServer.ServerExit | GenServer.CallingSelf
      >
    >()
    const get = () => GenServer.call(pid, "get")
    expectTypeOf(get).returns.toEqualTypeOf<Effect.Effect<number, GenServer.CallError>>()
    const reset = () => GenServer.cast(pid, "reset", { to: 1 })
    expectTypeOf(reset).returns.toEqualTypeOf<Effect.Effect<void>>()
  })

  it("refuse wrong tags, payloads and kinds", () => {
    // @ts-expect-error there is no such request
    const unknown = () => GenServer.call(pid, "subtract", 1)
    // @ts-expect-error the payload is a number
    const payload = () => GenServer.call(pid, "add", "1")
    // @ts-expect-error the payload is missing
    const missing = () => GenServer.call(pid, "add")
    // @ts-expect-error a one-way message has no reply to wait for
    const kind = () => GenServer.call(pid, "reset", { to: 1 })
    // @ts-expect-error a request cannot be cast
    const cast = () => GenServer.cast(pid, "add", 1)
    // @ts-expect-error a plain process understands no requests
    const plain = (other: Pid.Pid) => GenServer.call(other, "get")
    expectTypeOf([unknown, payload, missing, kind, cast, plain]).toBeArray()
  })

  it("leave an unhandled declared error in the type", () => {
    const handled = () => GenServer.call(pid, "add", 1).pipe(Effect.catchTag("TooMuch", () => Effect.succeed("")))
    expectTypeOf(handled).returns.toEqualTypeOf<Effect.Effect<string, GenServer.CallError>>()
    // @ts-expect-error TooMuch is not handled
    const unhandled = (): Effect.Effect<string, GenServer.CallError> => GenServer.call(pid, "add", 1)
    expectTypeOf(unhandled).toBeFunction()
  })
})

describe("servers", () => {
  it("need what their handlers need", () => {
    const start = () => GenServer.start(server, [1])
    expectTypeOf(start).returns.toEqualTypeOf<Effect.Effect<Pid.Pid<typeof protocol>, GenServer.StartError, Db>>()
    const link = () => GenServer.startLink(server, [1])
    expectTypeOf(link).returns.toEqualTypeOf<
      Effect.Effect<Pid.Pid<typeof protocol>, GenServer.StartError, Db | Process.Self>
    >()
    // @ts-expect-error init takes a number
    const args = () => GenServer.start(server, ["1"])
    // @ts-expect-error init takes an argument
    const none = () => GenServer.start(server)
    expectTypeOf([args, none]).toBeArray()
  })

  it("must handle every message, with the right reply and only declared errors", () => {
    const make = () => [
      GenServer.make(protocol, {
        init: () => GenServer.ok(0),
        // @ts-expect-error the handler of reset is missing
        handlers: { add: (_, s) => GenServer.reply("", s), get: (_, s) => GenServer.reply(1, s) }
      }),
      GenServer.make(protocol, {
        init: () => GenServer.ok(0),
        handlers: {
          // @ts-expect-error the reply is a string
          add: (_, s) => GenServer.reply(1, s),
          get: (_, s) => GenServer.reply(1, s),
          reset: () => GenServer.noReply(0)
        }
      }),
      GenServer.make(protocol, {
        init: () => GenServer.ok(0),
        handlers: {
          // @ts-expect-error Other is not declared
          add: () => Effect.fail(new Other()),
          get: (_, s) => GenServer.reply(1, s),
          reset: () => GenServer.noReply(0)
        }
      }),
      GenServer.make(protocol, {
        init: () => GenServer.ok(0),
        handlers: {
          add: (_, s) => GenServer.reply("", s),
          get: (_, s) => GenServer.reply(1, s),
          // @ts-expect-error the state is a number
          reset: () => GenServer.noReply("zero")
        }
      })
    ]
    expectTypeOf(make).toBeFunction()
  })
})

describe("processes", () => {
  it("need Self for what concerns the process one is in", () => {
    expectTypeOf(Process.self).toEqualTypeOf<Effect.Effect<Pid.Any, never, Process.Self>>()
    const spawn = () => Process.spawn(Effect.andThen(Process.receive(), Db))
    expectTypeOf(spawn).returns.toEqualTypeOf<Effect.Effect<Pid.Pid, never, Db>>()
    const run = () => Process.run(Effect.as(Process.self, 1))
    expectTypeOf(run).returns.toEqualTypeOf<Effect.Effect<number>>()
  })
})

describe("supervisors", () => {
  it("need what their children need, but not what elder siblings build", () => {
    const db = Supervisor.childLayer("db", Layer.succeed(Db, 1))
    const worker = Supervisor.server("worker", server, [1])
    const both = () => Supervisor.scoped({ children: [db, worker] })
    expectTypeOf(both).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Scope.Scope>
    >()
    const alone = () => Supervisor.scoped({ children: [worker] })
    expectTypeOf(alone).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Db | Scope.Scope>
    >()
    const layer = () => Supervisor.layer({ children: [db, worker] })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
  })

  it("know the order of their children: what a later sibling builds is needed from outside", () => {
    const db = Supervisor.childLayer("db", Layer.succeed(Db, 1))
    const worker = Supervisor.server("worker", server, [1])
    const early = () => Supervisor.layer({ children: [worker, db] })
    expectTypeOf(early).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError, Db>>()
    const scoped = () => Supervisor.scoped({ children: [worker, db] })
    // @ts-expect-error Db is missing: the worker starts before it is built
    const run = () => Effect.runPromise(Effect.scoped(scoped()))
    expectTypeOf(run).toBeFunction()
    const linked = () => Supervisor.startLink({ children: [worker, db, worker] })
    expectTypeOf(linked).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Db | Process.Self>
    >()
    const nested = () => Supervisor.supervisor("nested", { children: [worker, db] })
    expectTypeOf(nested).returns.toEqualTypeOf<Supervisor.ChildSpec<Db | Process.Self>>()
    const within = () => Supervisor.layer({ children: [db, Supervisor.supervisor("nested", { children: [worker] })] })
    expectTypeOf(within).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
    const lately = () => Supervisor.startLink(Effect.succeed({ children: [db, worker] as const }))
    expectTypeOf(lately).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Process.Self>
    >()
    const listed = [db, worker] as const
    const const_ = () => Supervisor.layer({ children: listed })
    expectTypeOf(const_).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
  })

  it("take lists whose order their type does not know: a child counts on no sibling then", () => {
    const db = Supervisor.childLayer("db", Layer.succeed(Db, 1))
    const worker = Supervisor.server("worker", server, [1])
    const workers = ["a", "b"].map((id) => Supervisor.server(id, server, [1]))
    const many = () => Supervisor.scoped({ children: workers })
    expectTypeOf(many).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Db | Scope.Scope>
    >()
    const array = [worker, db]
    const unknown = () => Supervisor.layer({ children: array })
    expectTypeOf(unknown).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError, Db>>()
    const first = () => Supervisor.layer({ children: [db, ...workers, worker] })
    expectTypeOf(first).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
    const last = () => Supervisor.layer({ children: [...workers, db, worker] })
    expectTypeOf(last).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError, Db>>()
    const others = ["x"].map((id) => Supervisor.child(id, Effect.never))
    const after = () => Supervisor.layer({ children: [...others, db, worker] })
    expectTypeOf(after).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
    const some = (isWanted: boolean) =>
      Supervisor.layer({ children: [...(isWanted ? [Supervisor.child("x", Effect.never)] : []), db, worker] })
    expectTypeOf(some).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError>>()
    const maybe = (isWanted: boolean) => Supervisor.layer({ children: [...(isWanted ? [db] : []), worker] })
    expectTypeOf(maybe).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError, Db>>()
    const w = worker
    const long = () => Supervisor.layer({ children: [w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, w, db] })
    expectTypeOf(long).returns.toEqualTypeOf<Layer.Layer<Db, GenServer.StartError, Db>>()
    const none = () => Supervisor.layer({ children: [] })
    expectTypeOf(none).returns.toEqualTypeOf<Layer.Layer<never, GenServer.StartError>>()
  })

  it("need what plain specs and templates need", () => {
    const start = GenServer.startLink(server, [1])
    const plain = () => Supervisor.scoped({ children: [{ id: "plain", start }] })
    expectTypeOf(plain).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Db | Scope.Scope>
    >()
    const template = { id: "template", start: (n: number) => GenServer.startLink(server, [n]) }
    const simple = () => Supervisor.scoped({ strategy: "simpleOneForOne", children: [template] })
    expectTypeOf(simple).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.SupervisorPid, GenServer.StartError, Db | Scope.Scope>
    >()
  })

  it("do not promise what a Layer child builds after its start", () => {
    const db = Supervisor.childLayer("db", Layer.succeed(Db, 1), { build: "continue", restart: "transient" })
    const worker = Supervisor.server("worker", server, [1])
    const layer = () => Supervisor.layer({ children: [db, worker] })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<never, GenServer.StartError, Db>>()
    const either = (build: "start" | "continue") => Supervisor.childLayer("db", Layer.succeed(Db, 1), { build })
    expectTypeOf(either).returns.toEqualTypeOf<Supervisor.ChildSpec<Process.Self>>()
    const other = () => Supervisor.childLayer("db", Layer.succeed(Db, 1), { restart: "transient" })
    expectTypeOf(other).returns.toEqualTypeOf<Supervisor.ChildSpec<Process.Self, Db>>()
    // @ts-expect-error an Effect has nothing to build
    const child = () => Supervisor.child("x", Effect.never, { build: "continue" })
    expectTypeOf(child).toBeFunction()
  })

  it("refuse wrong words", () => {
    // @ts-expect-error there is no such strategy
    const strategy = () => Supervisor.scoped({ strategy: "oneForNone", children: [] })
    // @ts-expect-error there is no such restart type
    const restart = () => Supervisor.child("x", Effect.never, { restart: "often" })
    expectTypeOf([strategy, restart]).toBeArray()
  })
})
