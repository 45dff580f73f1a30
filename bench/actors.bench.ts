/**
 * The actor runtime beside real Erlang (`bench/actors.erl`, when it is installed), nact and xstate: the same work on the same
 * machine in the same run, medians of nine.
 *
 * nact's messages go through the event loop, so its figures are those of a program that awaits each step, as its users write
 * them. xstate sends synchronously and has no mailbox to wait at; it is shown without a goal.
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"
import * as nact from "nact"
import { createActor, createMachine } from "xstate"
import * as ActorSystem from "../src/actors/ActorSystem.ts"
import * as DynamicSupervisor from "../src/actors/DynamicSupervisor.ts"
import * as ExitReason from "../src/actors/ExitReason.ts"
import * as GenServer from "../src/actors/GenServer.ts"
import type * as Pid from "../src/actors/Pid.ts"
import * as Process from "../src/actors/Process.ts"
import * as Registry from "../src/actors/Registry.ts"
import * as Report from "../src/actors/Report.ts"
import * as Supervisor from "../src/actors/Supervisor.ts"
import { type Case, median, progress, report } from "./harness.ts"

const rounds = 9

const protocol = GenServer.protocol({ ping: GenServer.Call<void, string>(), note: GenServer.Cast() })
const server = GenServer.make(protocol, {
  init: () => GenServer.ok(0),
  handlers: { ping: (_, s) => GenServer.reply("ok", s), note: (_, s) => GenServer.noReply(s) }
})

// Makes the collector callable without a flag on the command line.
setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void
const collect = (): void => {
  for (let i = 0; i < 4; i++) gc()
}

/** Operations a second of `n` operations, the median of nine rounds after one that warms up. */
const rate = <E, R>(n: number, work: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    const rates: Array<number> = []
    for (let i = 0; i <= rounds; i++) {
      const started = performance.now()
      yield* work
      if (i > 0) rates.push((n / (performance.now() - started)) * 1000)
    }
    return median(rates)
  })

const rateOf = async (n: number, work: () => Promise<unknown>): Promise<number> => {
  const rates: Array<number> = []
  for (let i = 0; i <= rounds; i++) {
    const started = performance.now()
    await work()
    if (i > 0) rates.push((n / (performance.now() - started)) * 1000)
  }
  return median(rates)
}

interface Figures {
  readonly call: number
  readonly cast: number
  readonly spawn: number
  readonly dynamic: number
  readonly restart: number
  readonly lookup: number
  readonly bytes: number
  readonly ring: number
}

const times = <E, R>(n: number, work: Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* work
  })

const ours = Effect.gen(function* () {
  const pid = yield* GenServer.start(server)
  const call = yield* rate(200_000, times(200_000, GenServer.call(pid, "ping")))
  const cast = yield* rate(
    200_000,
    Effect.andThen(times(200_000, GenServer.cast(pid, "note")), GenServer.call(pid, "ping"))
  )
  const spawn = yield* rate(
    10_000,
    times(
      10_000,
      Effect.flatMap(GenServer.start(server), (each) => GenServer.stop(each))
    )
  )
  const spec: Supervisor.ChildSpec<Process.Self> = {
    id: "c",
    restart: "temporary",
    start: GenServer.startLink(server)
  }
  // Only the starts are timed, as in the other two: how long many children take to stop is another question.
  const starts: Array<number> = []
  for (let i = 0; i <= rounds; i++) {
    const elapsed = yield* Effect.scoped(
      Effect.gen(function* () {
        const sup = yield* DynamicSupervisor.scoped()
        const started = performance.now()
        yield* times(10_000, DynamicSupervisor.startChild(sup, spec))
        return performance.now() - started
      })
    )
    if (i > 0) starts.push((10_000 / elapsed) * 1000)
  }
  const dynamic = median(starts)
  const one = yield* Supervisor.scoped({
    intensity: 1_000_000_000,
    period: "1 second",
    children: [{ id: "c", start: GenServer.startLink(server) }]
  })
  const crash = Effect.flatMap(Supervisor.whichChildren(one), ([child]) => {
    const victim = child?.child as Pid.Any
    return Effect.andThen(Process.exit(victim, ExitReason.kill), Process.awaitExit(victim))
  })
  const restart = yield* rate(10_000, times(10_000, crash))
  const registry = Registry.unique<string>("bench")
  yield* Registry.scoped(registry)
  const owner = yield* Effect.forkScoped(Process.run(Effect.andThen(Registry.register(registry, "key"), Effect.never)))
  yield* Effect.sleep(10)
  const lookup = yield* rate(200_000, times(200_000, Registry.lookup(registry, "key")))
  owner.interruptUnsafe()
  const ring = yield* ringOf(1000, 20)
  const n = 20_000
  collect()
  const before = process.memoryUsage().heapUsed
  const idle: Array<Pid.Any> = []
  for (let i = 0; i < n; i++) idle.push(yield* GenServer.start(server))
  yield* Effect.sleep(50)
  collect()
  const bytes = (process.memoryUsage().heapUsed - before) / n
  return { call, cast, spawn, dynamic, restart, lookup, bytes, ring, idle: idle.length }
})

const forwarder = GenServer.make(GenServer.protocol({}), {
  init: (next: Pid.Any) => GenServer.ok(next),
  handlers: {},
  info: (message, next) => {
    Process.sendUnsafe(next, message)
    return GenServer.noReply(next)
  }
})

const ringOf = (n: number, laps: number) =>
  Process.run(
    Effect.gen(function* () {
      let first: Pid.Any = yield* Process.self
      for (let i = 0; i < n; i++) first = yield* GenServer.start(forwarder, [first])
      return yield* rate(n * laps, times(laps, Effect.andThen(Process.send(first, "token"), Process.receive())))
    })
  )

// biome-ignore lint/suspicious/noExplicitAny: nact's messages have no types worth keeping here
type NactActor = any

const theirs = async (): Promise<Omit<Figures, "lookup">> => {
  const system = nact.start()
  let names = 0
  // biome-ignore lint/suspicious/noExplicitAny: as above
  const echo = (state: any, message: any) => {
    if (message.sender !== undefined) nact.dispatch(message.sender, "ok")
    if (message.crash === true) throw new Error("crash")
    return state
  }
  const onCrash = (_message: unknown, _error: unknown, context: { readonly reset: unknown }) => context.reset
  const start = (options: object = {}): NactActor =>
    nact.spawn(system as never, echo as never, `a${++names}`, options as never)
  const actor = start()
  const query = (to: NactActor) => nact.query(to, ((sender: unknown) => ({ sender })) as never, 5000)
  const call = await rateOf(20_000, async () => {
    for (let i = 0; i < 20_000; i++) await query(actor)
  })
  const cast = await rateOf(20_000, async () => {
    for (let i = 0; i < 20_000; i++) nact.dispatch(actor, {} as never)
    await query(actor)
  })
  const spawn = await rateOf(2000, async () => {
    for (let i = 0; i < 2000; i++) {
      const each = start()
      await query(each)
      nact.stop(each)
    }
  })
  const dynamicRates: Array<number> = []
  for (let i = 0; i <= rounds; i++) {
    const children: Array<NactActor> = []
    const started = performance.now()
    for (let j = 0; j < 10_000; j++) {
      const each = start({ onCrash })
      await query(each)
      children.push(each)
    }
    if (i > 0) dynamicRates.push((10_000 / (performance.now() - started)) * 1000)
    for (const each of children) nact.stop(each)
  }
  const dynamic = median(dynamicRates)
  const fragile = start({ onCrash })
  const silenced = console.error
  console.error = () => {}
  const restart = await rateOf(2000, async () => {
    for (let i = 0; i < 2000; i++) {
      nact.dispatch(fragile, { crash: true } as never)
      await query(fragile)
    }
  })
  console.error = silenced
  let first: NactActor
  let arrived: () => void = () => {}
  // biome-ignore lint/suspicious/noExplicitAny: as above
  const forward = (next: NactActor) => (state: any, message: any) => {
    if (next === undefined) arrived()
    else nact.dispatch(next, message)
    return state ?? 0
  }
  for (let i = 0; i <= 1000; i++) first = nact.spawn(system as never, forward(first) as never, `r${i}`)
  const ring = await rateOf(20_000, async () => {
    for (let lap = 0; lap < 20; lap++) {
      await new Promise<void>((resolve) => {
        arrived = resolve
        nact.dispatch(first, "token" as never)
      })
    }
  })
  collect()
  const before = process.memoryUsage().heapUsed
  const idle = Array.from({ length: 20_000 }, () => start())
  await query(idle.at(-1))
  collect()
  const bytes = (process.memoryUsage().heapUsed - before) / idle.length
  nact.stop(system as never)
  return { call, cast, spawn, dynamic, restart, bytes, ring }
}

const xstate = async () => {
  const machine = createMachine({ initial: "idle", states: { idle: { on: { ping: {} } } } })
  const actor = createActor(machine).start()
  const cast = await rateOf(100_000, async () => {
    for (let i = 0; i < 100_000; i++) actor.send({ type: "ping" })
  })
  const spawn = await rateOf(5000, async () => {
    for (let i = 0; i < 5000; i++) createActor(machine).start().stop()
  })
  collect()
  const before = process.memoryUsage().heapUsed
  const idle = Array.from({ length: 10_000 }, () => createActor(machine).start())
  collect()
  return { cast, spawn, bytes: (process.memoryUsage().heapUsed - before) / idle.length }
}

const erlang = (): Figures | undefined => {
  const result = spawnSync("escript", [fileURLToPath(new URL("actors.erl", import.meta.url))], { encoding: "utf8" })
  return result.status === 0 ? (JSON.parse(result.stdout) as Figures) : undefined
}

progress("vmtest …")
const we = await Effect.runPromise(
  // Logging a crash costs more than the crash; real Erlang is measured without its log as well.
  Effect.scoped(ActorSystem.scoped(ours)).pipe(Effect.provideService(Report.Reports, "quiet"))
)
progress("Erlang …")
const beam = erlang()
if (beam === undefined) progress("skipped: real Erlang, for there is no escript (Debian: erlang-base)")
progress("nact …")
const nactFigures = await theirs()
progress("xstate …")
const machine = await xstate()

const names: Readonly<Record<keyof Figures, string>> = {
  call: "call round trip",
  cast: "cast",
  spawn: "spawn + stop",
  dynamic: "spawn under a dynamic supervisor",
  restart: "supervisor restart",
  lookup: "registry lookup",
  bytes: "idle process",
  ring: "ring of 1,000, messages"
}
const unitOf = (key: keyof Figures) => (key === "bytes" ? "bytes" : "per second")
const keys = Object.keys(names) as ReadonlyArray<keyof Figures>
const cases: Array<Case> = []
for (const key of keys) {
  const base = { value: we[key], unit: unitOf(key) }
  if (beam !== undefined) {
    cases.push({
      ...base,
      case: `${names[key]}, Erlang`,
      baseline: beam[key],
      ...(key === "call" ? { goal: { of: "ratio", atLeast: 0.5 } as const } : {})
    })
  }
  if (key !== "lookup") {
    const goal = key === "bytes" ? ({ of: "ratio", atMost: 0.5 } as const) : ({ of: "ratio", atLeast: 2 } as const)
    cases.push({ ...base, case: `${names[key]}, nact`, baseline: nactFigures[key], goal })
  }
  if (key === "cast" || key === "spawn" || key === "bytes") {
    cases.push({ ...base, case: `${names[key]}, xstate`, baseline: machine[key] })
  }
  if (key === "bytes") cases.push({ ...base, case: "idle GenServer", goal: { of: "value", atMost: 4096 } })
}
process.exitCode = report("actors", cases) ? 0 : 1
