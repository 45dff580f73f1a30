import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as DynamicSupervisor from "../../src/actors/DynamicSupervisor.ts"
import * as Impairment from "../../src/network/Impairment.ts"
import { BridgeVlan } from "../../src/network/internal/bridgeVlan.ts"
import type { Namespace } from "../../src/network/internal/namespace.ts"
import { FabricUnavailable } from "../../src/network/Vlan.ts"

const options = (given: Impairment.ImpairmentOptions) => Result.getOrThrow(Impairment.fromOptions(given))

interface Host {
  /** What commands print, or why they fail. */
  answer: (script: string) => { readonly prints: string } | { readonly fails: string }
  readonly limits: { readonly impair: FabricUnavailable | undefined; readonly partition: FabricUnavailable | undefined }
}

/** A VLAN in a namespace that notes what is run in it. */
const made = Effect.fnUntraced(function* (host: Partial<Host> = {}) {
  const scripts: Array<string> = []
  const namespace: Namespace = {
    run: (script) =>
      Effect.suspend(() => {
        scripts.push(script)
        const answer = host.answer?.(script) ?? { prints: "" }
        return "fails" in answer
          ? Effect.fail({ _tag: "CommandFailed" as const, output: answer.fails })
          : Effect.succeed(answer.prints)
      }),
    inside: (command) => command,
    helper: (bridge) => `helper --br=${bridge}`,
    unprivileged: false,
    lacks: { netem: undefined, nft: undefined },
    seeds: false,
    ended: Effect.never
  }
  const vlan = new BridgeVlan({
    ...{ vlan: 1, directory: "/", namespace, lost: Effect.never },
    cables: yield* DynamicSupervisor.scoped({}),
    limits: host.limits ?? { impair: undefined, partition: undefined }
  })
  yield* vlan.begin
  const { service } = vlan
  const a = yield* service.port("a eth1")
  yield* service.port("b eth1")
  scripts.length = 0
  /** What was run since the last call: the queues with their delays, the pairs that are separated. */
  const ran = () =>
    scripts
      .splice(0)
      .flatMap((script) => [
        ...[...script.matchAll(/qdisc replace dev (\S+) root .* delay (\S+)us \S+ loss (\S+)/g)].map(
          ([, device, delay, loss]) => `${device} ${delay} ${loss}`
        ),
        ...(script.startsWith("nft")
          ? [
              script.includes("drop")
                ? [...script.matchAll(/"(\w+)" \. "(\w+)"/g)].map(([, from, to]) => `${from}>${to}`).join(" ")
                : "none"
            ]
          : [])
      ])
  return { service, a, ran }
})

describe("a VLAN of the fabric bridge", () => {
  it.live("does nothing to queues that no impairment has made", () =>
    Effect.gen(function* () {
      const { a, ran, service } = yield* made()
      yield* a.heal
      yield* service.heal
      assert.deepStrictEqual(ran(), ["none"])
    }).pipe(Effect.scoped)
  )

  it.live("has the last impairment of a direction, and what held before when its scope has closed", () =>
    Effect.gen(function* () {
      const { a, ran } = yield* made()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* a.impair(options({ latency: "1 millis" }))
          assert.deepStrictEqual(ran(), ["v1p1i 1000 0%"])
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* a.impair(options({ loss: "5 %", direction: "both" }))
              assert.deepStrictEqual(ran(), ["v1p1i 0 5%", "v1p1o 0 5%"])
            })
          )
          assert.deepStrictEqual(ran(), ["v1p1i 1000 0%", "v1p1o 0 0%"])
          yield* a.heal
          assert.deepStrictEqual(ran(), ["v1p1i 0 0%", "v1p1o 0 0%"])
        })
      )
      // It was healed before.
      assert.deepStrictEqual(ran(), [])
    }).pipe(Effect.scoped)
  )

  it.live("separates machines by their names, and ports that come later, until scopes close", () =>
    Effect.gen(function* () {
      const { ran, service } = yield* made()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* service.partition([["a"], ["b eth1"]])
          assert.deepStrictEqual(ran(), ["v1p1o>v1p2o v1p2o>v1p1o"])
          yield* service.port("a eth2")
          assert.deepStrictEqual(ran(), ["v1p1o>v1p2o v1p2o>v1p1o v1p2o>v1p3o v1p3o>v1p2o"])
        })
      )
      assert.deepStrictEqual(ran(), ["none"])
    }).pipe(Effect.scoped)
  )

  it.live("refuses what this host cannot do, before it runs a command", () =>
    Effect.gen(function* () {
      const reason = new FabricUnavailable({
        doing: "impair links",
        reason: "no netem",
        advice: "run modprobe sch_netem"
      })
      const { a, ran, service } = yield* made({ limits: { impair: reason, partition: reason } })
      assert.strictEqual(yield* Effect.flip(Effect.scoped(a.impair(options({ loss: 1 })))), reason)
      assert.strictEqual(yield* Effect.flip(Effect.scoped(service.partition([["a"]]))), reason)
      yield* service.heal
      assert.deepStrictEqual(ran(), [])
    }).pipe(Effect.scoped)
  )

  it.live("takes back what a command refuses", () =>
    Effect.gen(function* () {
      let refuses = true
      const { a, ran } = yield* made({
        answer: (script) => (refuses && script.includes("netem") ? { fails: "Error: no." } : { prints: "" })
      })
      const error = yield* Effect.flip(Effect.scoped(a.impair(options({ loss: 1 }))))
      assert.include(error.message, "cannot impair links on this host: Error: no.")
      refuses = false
      ran()
      yield* a.heal
      assert.deepStrictEqual(ran(), ["v1p1i 0 0%"])
    }).pipe(Effect.scoped)
  )

  it.live("still has the last counts when its namespace has ended", () =>
    Effect.gen(function* () {
      let ended = false
      const { a } = yield* made({
        answer: () => (ended ? { fails: "ended" } : { prints: "v1p1o: 10 5 0 0 0 0 0 0 20 7 0 0 0 0 0 0\n" })
      })
      const counts = { sent: 5, received: 7, lost: 0, duplicated: 0, corrupted: 0, reordered: 0 }
      assert.deepStrictEqual(yield* a.counts, counts)
      ended = true
      assert.deepStrictEqual(yield* a.counts, counts)
    }).pipe(Effect.scoped)
  )

  it.live("gives each port one TAP, for all who ask for it", () =>
    Effect.gen(function* () {
      const { a, service } = yield* made()
      assert.strictEqual((yield* service.port("a eth1")).tap, a.tap)
      assert.deepStrictEqual(yield* Effect.all([a.tap!.device, a.tap!.device], { concurrency: 2 }), ["v1p1t", "v1p1t"])
      assert.strictEqual(a.tap!.netdev, "helper=helper --br=v1p1")
    }).pipe(Effect.scoped)
  )
})
