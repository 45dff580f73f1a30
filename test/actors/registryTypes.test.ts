/**
 * What must not compile of registries, dynamic and partition supervisors, and what types come out. The compiler is the test:
 * `tsc` fails when a `@ts-expect-error` is not an error.
 */
import { describe, expectTypeOf, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import {
  DynamicSupervisor,
  type GenServer,
  PartitionSupervisor,
  type Pid,
  type Process,
  Registry,
  Supervisor
} from "vmtest/actors"

class Db extends Context.Service<Db, number>()("test/Db") {}

const Users = Registry.unique<string, number, { readonly color: "red" | "blue" }>("users")
const Flags = Registry.unique<string>("flags")
const Topics = Registry.duplicate<readonly [string, number], string | boolean>("topics")
declare const pid: Pid.Any

describe("a registry", () => {
  it("types its keys, values and metadata", () => {
    const lookup = () => Registry.lookup(Users, "Ada")
    expectTypeOf(lookup).returns.toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Registry.Entry<number>>, Registry.UnknownRegistry>
    >()
    const keys = () => Registry.keys(Topics, pid)
    expectTypeOf(keys).returns.toEqualTypeOf<
      Effect.Effect<ReadonlyArray<readonly [string, number]>, Registry.UnknownRegistry>
    >()
    const isText = (value: string | boolean): value is string => typeof value === "string"
    const match = () => Registry.match(Topics, ["a", 1], isText)
    expectTypeOf(match).returns.toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Registry.Entry<string>>, Registry.UnknownRegistry>
    >()
    const meta = () => Registry.meta(Users, "color")
    expectTypeOf(meta).returns.toEqualTypeOf<Effect.Effect<"red" | "blue" | undefined, Registry.UnknownRegistry>>()
    // @ts-expect-error keys are strings
    const key = () => Registry.lookup(Users, 1)
    // @ts-expect-error values are numbers
    const value = () => Registry.register(Users, "Ada", "1")
    // @ts-expect-error a value is wanted
    const missing = () => Registry.register(Users, "Ada")
    const optional = () => Registry.register(Flags, "on")
    // @ts-expect-error there is no such metadata
    const unknown = () => Registry.meta(Users, "size")
    // @ts-expect-error green is no color here
    const put = () => Registry.putMeta(Users, "color", "green")
    expectTypeOf([key, value, missing, optional, unknown, put]).toBeArray()
  })

  it("says AlreadyRegistered only where keys are unique, and needs a process to register", () => {
    const once = () => Registry.register(Users, "Ada", 1)
    expectTypeOf(once).returns.toEqualTypeOf<
      Effect.Effect<Pid.Any, Registry.UnknownRegistry | Registry.AlreadyRegistered, Process.Self>
    >()
    const often = () => Registry.register(Topics, ["a", 1], true)
    expectTypeOf(often).returns.toEqualTypeOf<Effect.Effect<Pid.Any, Registry.UnknownRegistry, Process.Self>>()
  })

  it("names and updates only by unique keys", () => {
    const via = () => Registry.via(Users, "Ada", 1)
    expectTypeOf(via).returns.toEqualTypeOf<Process.Via>()
    // @ts-expect-error many processes can have that key
    const duplicate = () => Registry.via(Topics, ["a", 1], true)
    // @ts-expect-error which of them?
    const whereis = () => Registry.whereis(Topics, ["a", 1])
    // @ts-expect-error which of them?
    const update = () => Registry.updateValue(Topics, ["a", 1], (value) => value)
    // @ts-expect-error a value is wanted
    const missing = () => Registry.via(Users, "Ada")
    expectTypeOf([duplicate, whereis, update, missing]).toBeArray()
  })
})

describe("a dynamic supervisor", () => {
  it("needs of the caller what its children need, and says how a start can fail", () => {
    const child = Supervisor.child("child", Db)
    const start = () => DynamicSupervisor.startChild(pid, child)
    expectTypeOf(start).returns.toEqualTypeOf<
      Effect.Effect<Supervisor.StartedChild, DynamicSupervisor.StartChildError, Db>
    >()
    const startLink = () => DynamicSupervisor.startLink({ maxChildren: 3 })
    expectTypeOf(startLink).returns.toEqualTypeOf<
      Effect.Effect<DynamicSupervisor.DynamicSupervisorPid, GenServer.StartError, Process.Self>
    >()
    // @ts-expect-error there is no other strategy
    const strategy = () => DynamicSupervisor.startLink({ strategy: "oneForAll" })
    // @ts-expect-error it has no ids to terminate by
    const id = () => DynamicSupervisor.terminateChild(pid, "child")
    expectTypeOf([strategy, id]).toBeArray()
  })

  it("checks its extra arguments against what the starts take", () => {
    const withExtra = DynamicSupervisor.startLink({ extraArguments: ["extra"] as [string] })
    const template = { id: "child", start: (_extra: string, _own: number) => Effect.succeed(pid) }
    const good = () => Effect.flatMap(withExtra, (sup) => DynamicSupervisor.startChild(sup, template, 1))
    // @ts-expect-error the start's own argument is a number
    const bad = () => Effect.flatMap(withExtra, (sup) => DynamicSupervisor.startChild(sup, template, "1"))
    // @ts-expect-error the start's own argument is missing
    const missing = () => Effect.flatMap(withExtra, (sup) => DynamicSupervisor.startChild(sup, template))
    const other = { id: "child", start: (_extra: boolean) => Effect.succeed(pid) }
    // @ts-expect-error the extra argument is a string
    const extra = () => Effect.flatMap(withExtra, (sup) => DynamicSupervisor.startChild(sup, other))
    expectTypeOf([good, bad, missing, extra]).toBeArray()
  })
})

describe("a partition supervisor", () => {
  it("needs a name and a child, and what its child needs", () => {
    const start = () => PartitionSupervisor.startLink({ name: "a", child: Supervisor.child("child", Db) })
    expectTypeOf(start).returns.toEqualTypeOf<Effect.Effect<Pid.Any, GenServer.StartError, Db | Process.Self>>()
    const child = Supervisor.child("child", Effect.never)
    // @ts-expect-error keys are looked up by its name
    const name = () => PartitionSupervisor.startLink({ child })
    // @ts-expect-error there is nothing to start
    const nothing = () => PartitionSupervisor.startLink({ name: "a" })
    // @ts-expect-error a partition supervisor does not shut itself down
    const shutdown = () => PartitionSupervisor.startLink({ name: "a", child, autoShutdown: "anySignificant" })
    expectTypeOf([name, nothing, shutdown]).toBeArray()
  })
})
