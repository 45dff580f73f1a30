/**
 * What goes wrong on a network of the fabric "bridge", measured where its kernel has netem. `network-bridge-netem.test.ts` bundles it, runs it in a Debian guest and
 * judges what it prints: a line of JSON with the numbers.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Bridge from "../../src/network/Bridge.ts"
import * as Impairment from "../../src/network/Impairment.ts"
import type { Port } from "../../src/network/Vlan.ts"
import { cardAt, macOf } from "../socketCards.ts"

const median = (numbers: ReadonlyArray<number>) =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

const impair = (port: Port, options: Impairment.ImpairmentOptions) =>
  port.impair(Result.getOrThrow(Impairment.fromOptions(options)))

const until = (condition: () => boolean, within: number) =>
  Effect.sync(condition).pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("2 millis") }),
    Effect.timeoutOption(within)
  )

const program = Effect.gen(function* () {
  const directory = Fs.mkdtempSync("/tmp/bridge-")
  const bridges = yield* Bridge.make
  const vlan = yield* bridges.vlan({ vlan: 1, directory })
  const arrivals = new Map<string, number>()
  const a = yield* cardAt(Path.join(directory, "a"), 1)
  let [first, last] = [0, 0]
  const b = yield* cardAt(Path.join(directory, "b"), 2, (text) => {
    last = performance.now()
    if (b.got.length === 1) first = last
    arrivals.set(text, last)
  })
  const [from, to] = yield* Effect.forEach(["a eth1", "b eth1"], vlan.port)
  yield* from!.plugIn(Path.join(directory, "a"))
  yield* to!.plugIn(Path.join(directory, "b"))
  // So that the bridge knows where both are.
  yield* a.send(macOf(2), "hello")
  yield* b.send(macOf(1), "hello")
  yield* until(() => a.got.length > 0 && b.got.length > 0, 20_000)

  /** Sends frames one by one, and gives how long each took, in milliseconds. */
  let named = 0
  const delays = Effect.forEach(upTo(40), () =>
    Effect.gen(function* () {
      const name = `delay ${++named}`
      const sent = performance.now()
      yield* a.send(macOf(2), name)
      yield* until(() => arrivals.has(name), 10_000)
      return (arrivals.get(name) ?? Number.NaN) - sent
    })
  )
  /** By turns, so that what else the machine does delays both alike. */
  const added = (...set: ReadonlyArray<readonly [Port, Impairment.ImpairmentOptions]>) =>
    Effect.gen(function* () {
      const [usual, impaired]: [Array<number>, Array<number>] = [[], []]
      for (const _ of upTo(3)) {
        usual.push(...(yield* delays))
        const all = Effect.forEach(set, ([port, options]) => impair(port, options), { discard: true })
        impaired.push(...(yield* Effect.scoped(Effect.andThen(all, delays))))
      }
      return median(impaired) - median(usual)
    })
  /** Sends frames with numbers, some at a time; gives the numbers in the order of their arrival, and the seconds from the first to the last. */
  const numbers = (count: number, options: Impairment.ImpairmentOptions, size = 60) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* impair(from!, options)
        const before = yield* from!.counts
        b.got.length = 0
        for (const index of upTo(count)) {
          yield* a.send(macOf(2), `${index}`, size)
          if (index % 20 === 19) yield* Effect.sleep("10 millis")
        }
        // All have left when the counter says so; those that are kept back come a moment later.
        let now = yield* from!.counts
        yield* Effect.map(from!.counts, (counts) => (now = counts)).pipe(
          Effect.repeat({
            until: () => now.sent - before.sent >= count && b.got.length >= count - (now.lost - before.lost),
            schedule: Schedule.spaced("50 millis")
          }),
          Effect.timeoutOption("20 seconds")
        )
        const seconds = (last - first) / 1000
        const got = b.got.map((line) => line.split(" ")[0] ?? "")
        return { got, sent: now.sent - before.sent, lost: now.lost - before.lost, seconds }
      })
    )

  const latency = {
    out: yield* added([from!, { latency: "100 millis" }]),
    in: yield* added([to!, { latency: "100 millis", direction: "in" }]),
    both: yield* added([from!, { latency: "50 millis" }], [to!, { latency: "50 millis", direction: "both" }])
  }
  const lossy = yield* numbers(2000, { loss: "10 %" })
  const duplicated = yield* numbers(200, { duplicate: "50 %" })
  const corrupt = yield* numbers(200, { corrupt: 1 }, 1000)
  const reordered = yield* numbers(200, { latency: "40 millis", reorder: "25 %" })
  const kept = yield* numbers(200, { latency: "40 millis", jitter: "30 millis" })
  const limited = yield* numbers(250, { rate: "2 Mbit/s" }, 1000)
  const free = yield* numbers(250, {}, 1000)

  const partitioned = yield* Effect.scoped(
    Effect.gen(function* () {
      yield* vlan.partition([["a"], ["b"]])
      b.got.length = 0
      yield* a.send(macOf(2), "lost")
      yield* Effect.sleep("500 millis")
      return b.got.length
    })
  )
  yield* a.send(macOf(2), "healed")
  yield* until(() => b.got.length > 0, 10_000)
  const healed = b.got.length

  let seen = 0
  const told: Array<string> = []
  const tell = (line: string) => Effect.sync(() => void told.push(line))
  const scope = yield* Scope.make()
  yield* vlan
    .watch({ see: () => (seen += 1), onEnd: ({ message }) => tell(message), onDropped: tell })
    .pipe(Scope.provide(scope))
  const sent = yield* numbers(300, { loss: "20 %" })
  yield* Scope.close(scope, Exit.void)

  const order = (all: ReadonlyArray<string>) => all.map(Number)
  process.stdout.write(
    `${JSON.stringify({
      latency,
      loss: { missing: 2000 - lossy.got.length, counted: lossy.lost, sent: lossy.sent },
      duplicates: duplicated.got.length - 200,
      corrupted: corrupt.got.filter((text, index) => text !== `${index}`).length,
      reordered: order(reordered.got),
      kept: order(kept.got),
      rate: { limited: limited.seconds, free: free.seconds, arrived: limited.got.length },
      partition: { during: partitioned, after: healed },
      capture: { seen, passed: sent.got.length, told }
    })}\n`
  )
}).pipe(Effect.scoped)

await Effect.runPromise(program)
