import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Observer from "../../src/actors/Observer.ts"
import * as Process from "../../src/actors/Process.ts"
import type { DriverService } from "../../src/driver/Driver.ts"
import { Reporter } from "../../src/driver/RunEvent.ts"
import { test } from "../../src/driver/TestCase.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { driverOf, offline, runOnMock } from "./support.ts"

const idle = (vlans: ReadonlyArray<number | string>) => offline({ autoStart: false, vlans })

/** Two machines on `lan`, one of them on `dmz`, too, and one on no network. */
const office = driverOf({ a: idle(["lan"]), b: idle(["lan", "dmz"]), loner: idle([]) }, {}, false, {
  networks: { lan: {}, dmz: { vlan: 7 }, attic: {} }
})

const messageOf = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)

describe("driver.network", () => {
  it.effect("names a network by its name or its number", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* office
      for (const which of ["dmz", 7]) yield* service.network(which).heal()
      yield* service.network("lan").partition(machines.a!, [machines.b!])
      yield* service.network(1).partition([machines.a!, machines.b!])
    })
  )

  for (const [which, words] of [
    ["lna", 'driver.network: unknown network "lna"; did you mean "lan"?'],
    [9, "driver.network: unknown network 9; the networks are lan (1), dmz (7), attic (2)"],
    ["attic", 'driver.network: the test has no machine on network "attic"']
  ] as const) {
    it.effect(`fails for ${JSON.stringify(which)} when it is used`, () =>
      Effect.gen(function* () {
        const { machines, service } = yield* office
        const network = service.network(which)
        assert.strictEqual(yield* messageOf(network.heal()), words)
        assert.strictEqual(yield* messageOf(network.partition(machines.a!)), words)
        assert.strictEqual(yield* messageOf(Stream.runDrain(network.capture)), words)
      })
    )
  }

  for (const which of [0, 255, 300, -1, 1.5]) {
    it.effect(`refuses ${which}, which is no VLAN, where the test declares no networks`, () =>
      Effect.gen(function* () {
        const { service } = yield* driverOf({ a: offline({ vlans: [1] }) })
        const words = `a VLAN must be a whole number from 1 to 254, got ${which}`
        assert.strictEqual(yield* messageOf(service.network(which).heal()), `driver.network: ${words}`)
        const serving = service.hostService({ name: "api", port: 80, network: which, handler: () => Effect.void })
        assert.strictEqual(yield* messageOf(Effect.scoped(serving)), `driver.hostService: ${words}`)
      })
    )
  }

  it.effect("refuses what is neither a name nor a number", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* office
      const network = service.network(machines.a as never)
      assert.include(yield* messageOf(network.heal()), "must be the number or the name of a network")
    })
  )

  it.effect("refuses a partition whose sides make no sense", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* office
      const { a, b, loner } = machines as Record<"a" | "b" | "loner", Machine>
      const { partition } = service.network("dmz")
      const where = "driver.network().partition:"
      const sides = `${where} sides must be machines or host services, or arrays of at least one of them`
      for (const [given, words] of [
        [[], `${sides}, got none`],
        [[[]], `${sides}, got []`],
        [[[b], []], `${sides}, got [b], []`],
        [["b"], `${sides}, got "b"`],
        [[b, [a, undefined]], `${sides}, got b, [a, undefined]`],
        [[b, b], `${where} a machine or host service must be on one side only, got b twice`],
        [[[b, b]], `${where} a machine or host service must be on one side only, got b twice`],
        [[a, b], `${where} a is not on network "dmz"`],
        [[b, [loner]], `${where} loner is not on network "dmz"`]
      ] as const) {
        assert.strictEqual(yield* messageOf(partition(...(given as ReadonlyArray<never>))), words)
      }
    })
  )
})

describe("machine.link", () => {
  it.effect("refuses a card that the machine does not have", () =>
    Effect.gen(function* () {
      const { machines } = yield* office
      const { b, loner } = machines as Record<"b" | "loner", Machine>
      const known = "card must be one that this machine declares (eth1 on lan, eth2 on dmz), got"
      for (const card of ["eth9", 2, "attic"]) {
        const shown = JSON.stringify(card)
        assert.strictEqual(yield* messageOf(b.link(card).impair({ loss: "1 %" })), `b.link().impair: ${known} ${shown}`)
        assert.strictEqual(yield* messageOf(b.link(card).heal()), `b.link().heal: ${known} ${shown}`)
        assert.strictEqual(yield* messageOf(b.link(card).counts()), `b.link().counts: ${known} ${shown}`)
        assert.include(yield* messageOf(b.block(card)), known)
      }
      assert.include(yield* messageOf(loner.link("eth1").heal()), "(it has none), got")
    })
  )

  it.effect("refuses impairments that make no sense, by their names", () =>
    Effect.gen(function* () {
      const { machines } = yield* office
      const { impair } = machines.a!.link()
      const where = "a.link().impair:"
      for (const [options, words] of [
        [{ loss: 10 }, `${where} loss must be a share from 0 to 1`],
        [{ drop: 0.1 }, `${where} unknown option "drop"; did you mean "loss"?`],
        [{ latency: 1, jitter: 2 }, "jitter must be at most the latency (1ms)"],
        [{ reorder: 0.5 }, "reorder needs a latency"]
      ] as const) {
        assert.include(yield* messageOf(impair(options as never)), words)
      }
    })
  )

  it.effect("impairs cards by interface, network and VLAN, whether the machine runs or not, and counts", () =>
    Effect.gen(function* () {
      const { machines } = yield* office
      const { b } = machines as Record<"b", Machine>
      for (const card of ["eth2", "dmz", 7]) yield* b.link(card).impair({ latency: "1 second" })
      yield* b.link().impair({ loss: "10 %", direction: "both" })
      yield* b.link().heal()
      const nothing = { sent: 0, received: 0, lost: 0, duplicated: 0, corrupted: 0, reordered: 0 }
      assert.deepStrictEqual(yield* b.link("lan").counts(), nothing)
    })
  )

  it.effect("does nothing on a machine without cards", () =>
    Effect.gen(function* () {
      const { machines } = yield* office
      yield* machines.loner!.link().impair({ loss: 1 })
      yield* machines.loner!.link().heal()
    })
  )
})

describe("an impairment or a partition that the body never runs", () => {
  for (const [call, forget] of [
    ["web.link().impair(…)", (web: Machine) => web.link().impair({ loss: "1 %" })],
    ["web.link().heal()", (web: Machine) => web.link("eth1").heal()],
    ["web.link().block()", (web: Machine) => web.link().block()],
    ["driver.network().heal()", (_: Machine, driver: DriverService) => driver.network(1).heal()],
    ["driver.network().partition(…)", (web: Machine, driver: DriverService) => driver.network(1).partition(web)]
  ] as const) {
    it.effect(`fails the test: ${call}`, () =>
      Effect.gen(function* () {
        const declared = test("t", { machines: { web: idle([1]) } }, ({ web }, driver) =>
          Effect.sync(() => void forget(web, driver))
        )
        const [result] = yield* runOnMock([declared]).pipe(Effect.provideService(Reporter, () => Effect.void))
        assert.strictEqual(result?.status, "failed")
        assert.include(result?.failure?.message, call)
      })
    )
  }
})

describe("a network that crashes over and over", () => {
  it.effect("fails the test", () =>
    Effect.gen(function* () {
      const crash = Effect.gen(function* () {
        const { processes } = yield* Observer.snapshot
        const found = processes.find(({ label }) => label === "switch")
        if (found !== undefined) yield* Process.exit(found.pid, ExitReason.custom("boom"))
      })
      const declared = test("t", { machines: { web: idle([1]) } }, (_, driver) =>
        Effect.andThen(driver.network(1).heal(), Effect.forever(Effect.andThen(crash, TestClock.adjust("10 millis"))))
      )
      const [result] = yield* runOnMock([declared]).pipe(Effect.provideService(Reporter, () => Effect.void))
      assert.deepStrictEqual(
        [result?.status, result?.failure?.kind, result?.failure?.message],
        ["failed", "VlanFailed", "VLAN 1: its switch kept crashing"]
      )
    })
  )
})
