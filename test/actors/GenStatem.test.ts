import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import * as GenStatem from "../../src/actors/GenStatem.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import { actor, exits, flush, quiet } from "./support.ts"

class WrongCode extends Data.TaggedError("WrongCode")<{ readonly tries: number }> {}

type Door =
  | { readonly _tag: "Locked"; readonly tries: number }
  | { readonly _tag: "Open"; readonly by: string }
  | { readonly _tag: "Alarm"; readonly since: number }

const DoorProtocol = GenStatem.protocol({
  unlock: GenStatem.Call<{ readonly code: string; readonly by: string }, number, WrongCode>(),
  state: GenStatem.Call<void, Door>(),
  walkThrough: GenStatem.Call<void, string>(),
  kick: GenStatem.Cast(),
  break: GenStatem.Cast(),
  dented: GenStatem.Internal<number>(),
  calmDown: GenStatem.Timeout<string>(),
  lock: GenStatem.StateTimeout()
})

/** A door that locks itself 10 s after it was opened, and whose alarm goes off at the third wrong code. */
const door = (log: Array<string> = []) => {
  const note = (line: string) => Effect.sync(() => void log.push(line))
  return GenStatem.make<Door>()(DoorProtocol, {
    label: "door",
    init: (tries: number) => GenStatem.ok({ _tag: "Locked", tries }),
    states: {
      Locked: {
        enter: (_door, previous) => Effect.as(note(`locked from ${previous._tag}`), GenStatem.keepStateAndData()),
        handlers: {
          unlock: ({ code, by }, { tries }, from) => {
            if (code === "1234") return GenStatem.nextState({ _tag: "Open", by }, GenStatem.reply(from, tries))
            const refused = GenStatem.failReply(from, new WrongCode({ tries: tries + 1 }))
            return tries < 2
              ? GenStatem.keepState({ _tag: "Locked", tries: tries + 1 }, refused)
              : GenStatem.nextState({ _tag: "Alarm", since: 0 }, refused, GenStatem.nextEvent("dented", tries))
          },
          state: (_, state, from) => GenStatem.keepStateAndData(GenStatem.reply(from, state)),
          walkThrough: () => GenStatem.keepStateAndData(GenStatem.postpone),
          kick: (_, { tries }) =>
            GenStatem.repeatState({ _tag: "Locked", tries }, GenStatem.startTimeout("calmDown", "3 seconds", "kicked")),
          break: () => Effect.die(new Error("splinters")),
          dented: () => GenStatem.keepStateAndData(),
          calmDown: (why) => Effect.as(note(`calm again after ${why}`), GenStatem.keepStateAndData())
        }
      },
      Open: {
        enter: (open, previous) =>
          Effect.as(
            note(`opened by ${open.by} from ${previous._tag}`),
            GenStatem.keepState(open, GenStatem.startTimeout("lock", "10 seconds"))
          ),
        handlers: {
          // A declared failure is an answer; the door stays as it is.
          unlock: () => Effect.fail(new WrongCode({ tries: -1 })),
          state: (_, state, from) => GenStatem.keepStateAndData(GenStatem.reply(from, state)),
          walkThrough: (_, { by }, from) => GenStatem.keepStateAndData(GenStatem.reply(from, `after ${by}`)),
          kick: () => GenStatem.keepStateAndData(GenStatem.cancelTimeout("calmDown")),
          break: () => GenStatem.stopWith(ExitReason.custom("broken")),
          dented: () => GenStatem.keepStateAndData(),
          calmDown: () => GenStatem.keepStateAndData(),
          lock: () => GenStatem.nextState({ _tag: "Locked", tries: 0 })
        }
      },
      Alarm: {
        handlers: {
          unlock: (_, alarm, from) =>
            GenStatem.stopAndReply(ExitReason.shutdown, [GenStatem.reply(from, alarm.since)], alarm),
          state: (_, state, from) => GenStatem.keepStateAndData(GenStatem.reply(from, state)),
          walkThrough: () => GenStatem.keepStateAndData(GenStatem.postpone),
          kick: () => GenStatem.keepStateAndData(GenStatem.updateTimeout("calmDown", "kicked more")),
          break: () => GenStatem.keepStateAndData(),
          dented: (tries, alarm) => Effect.as(note(`dented ${tries}`), GenStatem.keepState({ ...alarm, since: tries })),
          calmDown: (why) => Effect.as(note(`alarm: ${why}`), GenStatem.keepStateAndData())
        },
        info: (message) => Effect.as(note(`heard ${message}`), GenStatem.keepStateAndData())
      }
    },
    terminate: (reason, state) => note(`${state._tag} ended: ${ExitReason.format(reason)}`)
  })
}

const open = { code: "1234", by: "Ada" }
const wrong = { code: "0000", by: "Eve" }

describe("a state machine", () => {
  it.effect("narrows the data by the state, and answers calls, declared errors included", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenStatem.scoped(door(log), [0])
        const refused = yield* Effect.flip(GenStatem.call(pid, "unlock", wrong))
        assert.deepStrictEqual(refused, new WrongCode({ tries: 1 }))
        assert.strictEqual(yield* GenStatem.call(pid, "unlock", open), 1)
        assert.deepStrictEqual(yield* GenStatem.call(pid, "state"), { _tag: "Open", by: "Ada" })
        assert.deepStrictEqual(yield* Effect.flip(GenStatem.call(pid, "unlock", open)), new WrongCode({ tries: -1 }))
        assert.deepStrictEqual(yield* GenStatem.call(pid, "state"), { _tag: "Open", by: "Ada" })
        assert.deepStrictEqual(log, ["locked from Locked", "opened by Ada from Locked"])
      })
    )
  )

  it.effect("postpones a call until the state changes", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenStatem.scoped(door(), [0])
        const walker = yield* Effect.forkChild(GenStatem.call(pid, "walkThrough"), { startImmediately: true })
        yield* Effect.flip(GenStatem.call(pid, "unlock", wrong))
        assert.isUndefined(walker.pollUnsafe())
        yield* GenStatem.call(pid, "unlock", open)
        assert.strictEqual(yield* Fiber.join(walker), "after Ada")
      })
    )
  )

  it.effect("times out of a state, and not once it has left it", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenStatem.scoped(door(log), [0])
        yield* GenStatem.call(pid, "unlock", open)
        yield* TestClock.adjust("9 seconds")
        assert.strictEqual((yield* GenStatem.call(pid, "state"))._tag, "Open")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* GenStatem.call(pid, "state"), { _tag: "Locked", tries: 0 })
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(log, ["locked from Locked", "opened by Ada from Locked", "locked from Open"])
      })
    )
  )

  it.effect("keeps a named timeout across states, renews what it carries, and cancels it", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenStatem.scoped(door(log), [2])
        yield* GenStatem.cast(pid, "kick")
        yield* Effect.flip(GenStatem.call(pid, "unlock", wrong))
        yield* GenStatem.cast(pid, "kick")
        yield* TestClock.adjust("3 seconds")
        // With no timer running, an update comes at once.
        yield* GenStatem.cast(pid, "kick")
        yield* Process.send(pid, "a dog")
        yield* quiet
        assert.deepStrictEqual(log, [
          ...["locked from Locked", "locked from Locked", "dented 2"],
          ...["alarm: kicked more", "alarm: kicked more", "heard a dog"]
        ])
        const other = yield* GenStatem.scoped(door(log), [0])
        yield* GenStatem.cast(other, "kick")
        yield* GenStatem.call(other, "unlock", open)
        yield* GenStatem.cast(other, "kick")
        yield* TestClock.adjust("1 minute")
        assert.notInclude(log.join(), "calm again")
      })
    )
  )

  it.effect(
    "runs terminate when it stops or crashes, with the state of before the event, and never when it is killed",
    () =>
      actor(
        Effect.gen(function* () {
          yield* Process.trapExit(true)
          const log: Array<string> = []
          const start = GenStatem.startLink(door(log), [0])
          const crashing = yield* start
          yield* GenStatem.cast(crashing, "break")
          yield* quiet
          const stopping = yield* start
          yield* GenStatem.call(stopping, "unlock", open)
          yield* GenStatem.cast(stopping, "break")
          yield* quiet
          const killed = yield* start
          yield* Process.exit(killed, ExitReason.kill)
          const stopped = yield* start
          yield* GenStatem.stop(stopped)
          assert.deepStrictEqual(exits(yield* flush), ["crashed: Error: splinters", "broken", "killed", "normal"])
          assert.deepStrictEqual(
            log.filter((line) => line.includes("ended")),
            ["Locked ended: crashed: Error: splinters", "Open ended: broken", "Locked ended: normal"]
          )
        })
      )
  )

  it.effect("answers before it terminates, unlike a generic server", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenStatem.start(door(), [2])
        yield* Effect.flip(GenStatem.call(pid, "unlock", wrong))
        assert.strictEqual(yield* GenStatem.call(pid, "unlock", open), 2)
        assert.strictEqual((yield* Process.awaitExit(pid))._tag, "NoProcess")
        assert.strictEqual((yield* Effect.flip(GenStatem.call(pid, "state")))._tag, "NoProcess")
      })
    )
  )

  it.effect("ends with its parent when it traps exits, through terminate", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const trapping = GenStatem.make<Door>()(DoorProtocol, {
          init: () => Effect.as(Process.trapExit(true), GenStatem.ok({ _tag: "Alarm", since: 0 })),
          states: statesOf(log),
          terminate: (reason) => Effect.sync(() => void log.push(ExitReason.format(reason)))
        })
        let pid: Pid.Any | undefined
        const parent = yield* Process.spawn(
          Effect.gen(function* () {
            pid = yield* GenStatem.startLink(trapping)
            yield* Process.receive()
          })
        )
        yield* quiet
        yield* Process.send(parent, "end")
        yield* Process.awaitExit(parent)
        yield* quiet
        assert.deepStrictEqual(log, ["normal"])
        assert.isTrue(pid !== undefined && !(yield* Process.isAlive(pid)))
      })
    )
  )
})

/** Handlers that do nothing. */
const statesOf = (log: Array<string>) => {
  const handlers = {
    unlock: () => GenStatem.keepStateAndData(),
    state: () => GenStatem.keepStateAndData(),
    walkThrough: () => GenStatem.keepStateAndData(),
    kick: () =>
      Effect.as(
        Effect.sync(() => log.push("kick")),
        GenStatem.keepStateAndData()
      ),
    break: () => GenStatem.keepStateAndData(),
    dented: () => GenStatem.keepStateAndData(),
    calmDown: () => GenStatem.keepStateAndData()
  }
  return { Locked: { handlers }, Open: { handlers }, Alarm: { handlers } }
}

describe("bad input", () => {
  it.effect("a start that says ignore, stop, or nonsense is the typed error of any server", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const start = (init: GenStatem.InitResult<Door, never>) =>
          Effect.flip(
            GenStatem.startLink(GenStatem.make<Door>()(DoorProtocol, { init: () => init, states: statesOf([]) }))
          )
        assert.strictEqual((yield* start(GenStatem.ignore))._tag, "Ignored")
        const stopped = yield* start(GenStatem.initStop(ExitReason.custom("no")))
        assert.deepStrictEqual(stopped, new GenServer.InitFailed({ server: "server", reason: ExitReason.custom("no") }))
        const odd = yield* start("odd" as never)
        assert.strictEqual(odd._tag === "InitFailed" && odd.reason._tag, "BadReturn")
        const serverInit = yield* start(GenServer.ok({ _tag: "Alarm", since: 0 }))
        assert.strictEqual(serverInit._tag === "InitFailed" && serverInit.reason._tag, "BadReturn")
      })
    )
  )

  it.effect("an event or a state without a handler, and a result that is none, end the machine", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const fateOf = (result: unknown, tag = "kick") =>
          Effect.gen(function* () {
            const handlers = { ...statesOf([]).Alarm.handlers, kick: () => result as never }
            const machine = GenStatem.make<Door>()(DoorProtocol, {
              init: () => GenStatem.ok({ _tag: "Alarm", since: 0 }),
              states: { ...statesOf([]), Alarm: { handlers } }
            })
            const pid = yield* GenStatem.startLink(machine)
            yield* GenStatem.cast(pid as Pid.Any, tag as never)
            return exits(yield* flush)
          })
        assert.deepStrictEqual(yield* fateOf(undefined), ["bad return value: undefined"])
        assert.deepStrictEqual(yield* fateOf(GenServer.noReply(1)), ['bad return value: {"_tag":"NoReply","state":1}'])
        assert.deepStrictEqual(yield* fateOf(undefined, "nobodyHandlesThis"), [
          'crashed: UnknownMessage: no handler for "nobodyHandlesThis"'
        ])
        const nowhere = yield* fateOf(GenStatem.nextState({ _tag: "Nowhere" }, GenStatem.nextEvent("dented", 1)))
        assert.deepStrictEqual(nowhere, ['crashed: UnknownMessage: no handler for "Nowhere"'])
        const another = yield* fateOf(GenStatem.keepState({ _tag: "Open", by: "nobody" }))
        assert.match(another.join(), /^bad return value/)
      })
    )
  )

  it.effect("a long chain of inserted events neither starves others nor stalls", () =>
    actor(
      Effect.gen(function* () {
        type Counting = { readonly _tag: "Counting"; readonly n: number }
        const protocol = GenStatem.protocol({
          start: GenStatem.Cast(),
          count: GenStatem.Call<void, number>(),
          more: GenStatem.Internal()
        })
        const counter = GenStatem.make<Counting>()(protocol, {
          init: () => GenStatem.ok({ _tag: "Counting", n: 0 }),
          states: {
            Counting: {
              handlers: {
                start: () => GenStatem.keepStateAndData(GenStatem.nextEvent("more")),
                count: (_, { n }, from) => GenStatem.keepStateAndData(GenStatem.reply(from, n)),
                more: (_, { n }) =>
                  n < 10_000
                    ? GenStatem.keepState({ _tag: "Counting", n: n + 1 }, GenStatem.nextEvent("more"))
                    : GenStatem.keepStateAndData()
              }
            }
          }
        })
        const pid = yield* GenStatem.scoped(counter)
        yield* GenStatem.cast(pid, "start")
        assert.strictEqual(yield* GenStatem.call(pid, "count"), 10_000)
      })
    )
  )
})

// ----------------------------------------------------------------------------
// Types: what does not compile
// ----------------------------------------------------------------------------

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isTrue = <T extends true>(_?: T) => {}

class Lock extends Context.Service<Lock, { readonly strong: boolean }>()("test/Lock") {}

describe("types", () => {
  it("a call's error is exactly its declared errors and the ways in which a call can end", () => {
    const program = (pid: Pid.Pid<typeof DoorProtocol>) => ({
      unlock: GenStatem.call(pid, "unlock", open),
      state: GenStatem.call(pid, "state")
    })
    type Calls = ReturnType<typeof program>
    isTrue<Same<Effect.Error<Calls["unlock"]>, WrongCode | GenServer.CallError>>()
    isTrue<Same<Effect.Success<Calls["unlock"]>, number>>()
    isTrue<Same<Effect.Error<Calls["state"]>, GenServer.CallError>>()
    isTrue<Same<Effect.Success<Calls["state"]>, Door>>()
  })

  it("callers cannot send what is the machine's own, or what is not in the protocol", () => {
    const program = (pid: Pid.Pid<typeof DoorProtocol>) => [
      // @ts-expect-error an internal event
      GenStatem.cast(pid, "dented", 1),
      // @ts-expect-error a timeout
      GenStatem.cast(pid, "lock"),
      // @ts-expect-error a request is not a one-way message
      GenStatem.cast(pid, "unlock", open),
      // @ts-expect-error no such event
      GenStatem.call(pid, "explode"),
      // @ts-expect-error the payload is missing
      GenStatem.call(pid, "unlock")
    ]
    assert.isFunction(program)
  })

  it("handlers are exhaustive: every state, and every event that can arrive there", () => {
    const { Locked, Open } = statesOf([])
    const init = () => GenStatem.ok({ _tag: "Locked" as const, tries: 0 })
    // @ts-expect-error the state Alarm has no handlers
    GenStatem.make<Door>()(DoorProtocol, { init, states: { Locked, Open } })
    const { dented: _dented, ...handlers } = Locked.handlers
    // @ts-expect-error nobody handles dented in Alarm
    GenStatem.make<Door>()(DoorProtocol, { init, states: { Locked, Open, Alarm: { handlers } } })
  })

  it("results and actions fit the state and the protocol", () => {
    const { Locked, Open, Alarm } = statesOf([])
    const init = () => GenStatem.ok({ _tag: "Locked" as const, tries: 0 })
    const withKick = <K>(kick: K) => ({ Locked, Open, Alarm: { handlers: { ...Alarm.handlers, kick } } })
    const make = GenStatem.make<Door>()
    make(DoorProtocol, { init, states: withKick(() => GenStatem.nextState({ _tag: "Open", by: "me" })) })
    // @ts-expect-error no such state
    make(DoorProtocol, { init, states: withKick(() => GenStatem.nextState({ _tag: "Ajar" })) })
    // @ts-expect-error keepState cannot go elsewhere
    make(DoorProtocol, { init, states: withKick(() => GenStatem.keepState({ _tag: "Open", by: "me" })) })
    // @ts-expect-error dented carries a number
    make(DoorProtocol, { init, states: withKick(() => GenStatem.keepStateAndData(GenStatem.nextEvent("dented", "x"))) })
    const wrongTimer = withKick(() => GenStatem.keepStateAndData(GenStatem.startTimeout("dented", 1, 1)))
    // @ts-expect-error an internal event is no timeout
    make(DoorProtocol, { init, states: wrongTimer })
    const enter = () => GenStatem.keepStateAndData(GenStatem.postpone)
    // @ts-expect-error an enter call cannot postpone
    make(DoorProtocol, { init, states: { Locked: { ...Locked, enter }, Open, Alarm } })
    const leave = () => GenStatem.nextState({ _tag: "Open", by: "me" })
    // @ts-expect-error an enter call cannot change the state
    make(DoorProtocol, { init, states: { Locked: { ...Locked, enter: leave }, Open, Alarm } })
    const undeclared = () => Effect.fail(new Error("not declared"))
    const failing = { Locked, Open, Alarm: { handlers: { ...Alarm.handlers, unlock: undeclared } } }
    // @ts-expect-error a request's handler fails with declared errors only
    make(DoorProtocol, { init, states: failing })
  })

  it("what any callback needs is needed to start", () => {
    const { Locked, Open, Alarm } = statesOf([])
    const enter = () => Effect.map(Lock, () => GenStatem.keepStateAndData())
    const machine = GenStatem.make<Door>()(DoorProtocol, {
      init: (tries: number) => GenStatem.ok({ _tag: "Locked", tries }),
      states: { Locked: { ...Locked, enter }, Open, Alarm }
    })
    const started = GenStatem.start(machine, [1])
    isTrue<Same<Effect.Services<typeof started>, Lock>>()
    assert.isTrue(Exit.isExit(Exit.void))
  })
})
