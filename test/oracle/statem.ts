/**
 * Random state machines made of tables, and running them on this library's GenStatem. The format and the other side, the
 * real gen_statem, are in statem.erl.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenStatem from "../../src/actors/GenStatem.ts"
import { PendingCall } from "../../src/actors/internal/gen/call.ts"
import { SystemLetter } from "../../src/actors/internal/process/loop.ts"
import { currentFiber } from "../../src/actors/internal/process/park.ts"
import { implOf, type ProcessImpl } from "../../src/actors/internal/process/process.ts"
import { Watcher } from "../../src/actors/internal/process/watcher.ts"
import * as Process from "../../src/actors/Process.ts"
import type { Random } from "./generator.ts"
import { World } from "./World.ts"

export type Action = ReadonlyArray<string | number>

export interface Result {
  readonly do: string
  readonly to?: string
  readonly actions: ReadonlyArray<Action>
}

export interface Operation {
  readonly op: string
  readonly tag?: string
  readonly id?: number
  readonly ms?: number
}

export interface Scenario {
  readonly enter: boolean
  readonly limit: number
  readonly init: { readonly state: string; readonly actions: ReadonlyArray<Action> }
  readonly states: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<Result>>>>>
  readonly steps: ReadonlyArray<ReadonlyArray<Operation>>
}

type From = GenStatem.From<number>

export type Trace = ReadonlyArray<ReadonlyArray<unknown>>

const stateNames = ["a", "b", "c"]
const calls = ["c0", "c1"]
const casts = ["e0", "e1", "e2"]
const timeouts = ["t0", "t1", "s0", "s1", "v0"]
const tags = [...calls, ...casts, "i0", "i1", ...timeouts, "info"]

// ----------------------------------------------------------------------------
// Random machines
// ----------------------------------------------------------------------------

const action = (random: Random): Action =>
  random.weighted<() => Action>([
    [3, () => ["reply"]],
    [4, () => ["postpone"]],
    [1, () => ["no_postpone"]],
    [4, () => ["next", random.pick(["i0", "i1", "e0", "e1", "info"])]],
    [1, () => ["next_call", random.pick(calls)]],
    [4, () => ["start", random.pick(timeouts), 0]],
    [3, () => ["start", random.pick(timeouts), random.int(1, 5000)]],
    [1, () => ["start", random.pick(timeouts), "infinity"]],
    [2, () => ["cancel", random.pick(timeouts)]],
    [2, () => ["update", random.pick(timeouts)]]
  ])()

const actions = (random: Random, entering: boolean): Array<Action> => {
  const found: Array<Action> = []
  while (found.length < 4 && random.chance(0.5)) {
    const next = action(random)
    const insertsOrPostpones = next[0] === "next" || next[0] === "next_call" || next[0] === "postpone"
    // What an enter call may not ask for ends the machine: once in a while is enough.
    if (!(entering && insertsOrPostpones) || random.chance(0.02)) found.push(next)
  }
  return found
}

const result = (random: Random, entering: boolean): Result => {
  const what = random.weighted([
    [entering ? 0.1 : 14, "next_state"],
    [8, "keep_state"],
    [3, "keep_state_and_data"],
    [entering ? 0.5 : 2, "repeat_state"],
    [entering ? 0.2 : 1, "repeat_state_and_data"],
    [0.2, "stop"],
    [0.2, "stop_data"],
    [0.2, "stop_and_reply"],
    [0.2, "crash"],
    [0.1, "bad"]
  ])
  return { do: what, to: random.pick(stateNames), actions: actions(random, entering) }
}

const results = (random: Random, entering: boolean): Array<Result> =>
  Array.from({ length: random.int(1, 3) }, () => result(random, entering))

/** A random machine and what happens to it. */
export const generate = (random: Random): Scenario => {
  let id = 0
  const operation = (): Operation =>
    random.weighted<() => Operation>([
      [6, () => ({ op: "cast", tag: random.pick(casts), id: ++id })],
      [3, () => ({ op: "call", tag: random.pick(calls), id: ++id })],
      [1, () => ({ op: "info", id: ++id })],
      [3, () => ({ op: "advance", ms: random.int(1, 4000) })]
    ])()
  const enter = random.chance(0.6)
  return {
    enter,
    limit: 60,
    init: { state: random.pick(stateNames), actions: actions(random, true) },
    states: Object.fromEntries(
      stateNames.map((name) => [
        name,
        Object.fromEntries([...tags, ...(enter ? ["enter"] : [])].map((tag) => [tag, results(random, tag === "enter")]))
      ])
    ),
    steps: Array.from({ length: random.int(2, 8) }, () => Array.from({ length: random.int(1, 4) }, operation))
  }
}

// ----------------------------------------------------------------------------
// Running them
// ----------------------------------------------------------------------------

interface Data {
  readonly _tag: string
  readonly n: number
  readonly waiting: ReadonlyArray<From>
}

/** A caller whose answers are written down instead of being waited for. */
class RecordedCall extends PendingCall {
  private readonly note: (value: unknown) => void
  constructor(server: ProcessImpl, tag: string, payload: unknown, note: (value: unknown) => void) {
    super(currentFiber(), server, tag, payload, Number.POSITIVE_INFINITY)
    this.note = note
  }
  override settle(exit: Exit.Exit<unknown, unknown>) {
    this.note(Exit.isSuccess(exit) ? exit.value : "error")
  }
}

class LastWords extends Watcher {
  private readonly note: (reason: ExitReason.ExitReason) => void
  constructor(note: (reason: ExitReason.ExitReason) => void) {
    super()
    this.note = note
  }
  fire() {}
  down(reason: ExitReason.ExitReason) {
    this.note(reason)
  }
}

const word = (reason: ExitReason.ExitReason): unknown => {
  switch (reason._tag) {
    case "Normal":
      return "normal"
    case "Crashed":
      return "crash"
    case "BadReturn":
      return "bad"
    default:
      return reason._tag === "Custom" ? reason.term : reason._tag
  }
}

class Machine {
  private readonly scenario: Scenario
  private readonly tell: (event: unknown) => void
  private readonly effectful: boolean
  private count = 0

  constructor(scenario: Scenario, tell: (event: unknown) => void, effectful: boolean) {
    this.scenario = scenario
    this.tell = tell
    this.effectful = effectful
  }

  /** The machine of the scenario. Its protocol is only known at run time, hence the untyped pieces. */
  make() {
    const { enter, init } = this.scenario
    const protocol = GenStatem.protocol({
      c0: GenStatem.Call<number, number>(),
      c1: GenStatem.Call<number, number>(),
      e0: GenStatem.Cast<number>(),
      e1: GenStatem.Cast<number>(),
      e2: GenStatem.Cast<number>(),
      i0: GenStatem.Internal<number>(),
      i1: GenStatem.Internal<number>(),
      t0: GenStatem.Timeout<number>(),
      t1: GenStatem.Timeout<number>(),
      s0: GenStatem.StateTimeout<number>(),
      s1: GenStatem.StateTimeout<number>(),
      v0: GenStatem.EventTimeout<number>()
    })
    const heard = (tag: string) => (payload: unknown, data: Data, from?: From) => {
      this.tell(["h", data._tag, tag, payload, data.n])
      return this.answer(data, tag, from)
    }
    const state = {
      ...(enter && {
        enter: (data: Data, previous: Data) => {
          this.tell(["enter", data._tag, previous._tag, data.n])
          return this.answer(data, "enter", undefined)
        }
      }),
      handlers: Object.fromEntries(tags.filter((tag) => tag !== "info").map((tag) => [tag, heard(tag)])),
      info: heard("info")
    }
    return GenStatem.make<Data>()(protocol, {
      init: () =>
        GenStatem.ok({ _tag: init.state, n: 0, waiting: [] }, ...this.actions(init.actions, undefined, []).actions),
      states: Object.fromEntries(stateNames.map((name) => [name, state])) as never,
      terminate: (reason, data) => Effect.sync(() => this.tell(["terminate", word(reason), data._tag, data.n]))
    })
  }

  private answer(data: Data, tag: string, from: From | undefined): unknown {
    const result = this.result(data, tag, from)
    return this.effectful && !Effect.isEffect(result) ? Effect.as(Effect.yieldNow, result) : result
  }

  private result(data0: Data, tag: string, from: From | undefined): unknown {
    const count = this.count++
    const table = this.scenario.states[data0._tag]?.[tag]
    const found = table?.[count % table.length]
    if (found === undefined || count >= this.scenario.limit) return GenStatem.keepStateAndData()
    const { actions, waiting } = this.actions(
      found.actions,
      from,
      from === undefined ? data0.waiting : [...data0.waiting, from]
    )
    const data = { _tag: data0._tag, n: data0.n + 1, waiting }
    switch (found.do) {
      case "next_state":
        return GenStatem.nextState({ ...data, _tag: found.to ?? "" }, ...actions)
      case "keep_state":
        return GenStatem.keepState(data, ...actions)
      case "keep_state_and_data":
        return GenStatem.keepStateAndData(...actions)
      case "repeat_state":
        return GenStatem.repeatState(data, ...actions)
      case "repeat_state_and_data":
        return GenStatem.repeatStateAndData(...actions)
      case "stop":
        return GenStatem.stopWith()
      case "stop_data":
        return GenStatem.stopWith(ExitReason.custom("r1"), data)
      case "stop_and_reply":
        return GenStatem.stopAndReply(
          ExitReason.custom("r2"),
          actions.filter((each) => each._tag === "Reply"),
          data
        )
      case "crash":
        return Effect.die(new Error("boom"))
      default:
        return "bad"
    }
  }

  private actions(list: ReadonlyArray<Action>, from: From | undefined, callers: Data["waiting"]) {
    const waiting = [...callers]
    const { count } = this
    // biome-ignore lint/suspicious/noExplicitAny: what may be in here depends on the scenario
    const actions = list.flatMap(([what, tag, time]): Array<any> => {
      switch (what) {
        case "postpone":
          return [GenStatem.postpone]
        case "no_postpone":
          return [GenStatem.doNotPostpone]
        case "reply": {
          const caller = waiting.shift()
          return caller === undefined ? [] : [GenStatem.reply(caller, count)]
        }
        case "next":
          return [tag === "info" ? GenStatem.nextInfo(count) : GenStatem.nextEvent(String(tag), count)]
        case "next_call":
          return from === undefined ? [] : [GenStatem.nextEvent(String(tag), count, from)]
        case "start":
          return [GenStatem.startTimeout(String(tag), time === "infinity" ? "Infinity" : Number(time), count)]
        case "cancel":
          return [GenStatem.cancelTimeout(String(tag))]
        default:
          return [GenStatem.updateTimeout(String(tag), count)]
      }
    })
    return { actions, waiting }
  }
}

/** Runs a scenario in a world of its own; `effectful` says that its handlers are Effects which take a while. */
export const run = (scenario: Scenario, effectful = false): Trace => {
  const trace: Array<Array<unknown>> = [[]]
  const tell = (event: unknown) => {
    trace.at(-1)?.push(event)
  }
  const machine = new Machine(scenario, tell, effectful)
  const world = new World()
  const operate = (process: ProcessImpl, { op, tag = "", id = 0, ms = 0 }: Operation): Effect.Effect<void> => {
    switch (op) {
      case "cast":
        return GenStatem.cast(process, tag, id)
      case "call":
        return Effect.sync(() =>
          process.deliver(new RecordedCall(process, tag, id, (value) => tell(["reply", id, value])))
        )
      case "info":
        return Process.send(process, id)
      default:
        return Effect.sleep(ms)
    }
  }
  const script = Effect.gen(function* () {
    const process = implOf(yield* GenStatem.start(machine.make()))
    const down = (reason: ExitReason.ExitReason) => tell(["down", word(reason)])
    if (process.reason === undefined) process.watch(new LastWords(down))
    else down(process.reason)
    yield* world.idle
    for (const step of scenario.steps) {
      trace.push([])
      process.deliver(new SystemLetter((loop) => loop.suspend()))
      yield* world.idle
      for (const each of step) yield* operate(process, each)
      process.deliver(new SystemLetter((loop) => loop.resume()))
      yield* world.idle
    }
  })
  const exit = world.run(script.pipe(Effect.provideService(ActorSystem.ActorSystem, world.system)))
  if (Exit.isFailure(exit)) trace.push(["failed", String(exit.cause)])
  return trace
}
