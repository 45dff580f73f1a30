/** What tests of networks ask of guests of `Image.tiny`. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ExitReason from "../src/actors/ExitReason.ts"
import * as Observer from "../src/actors/Observer.ts"
import * as Process from "../src/actors/Process.ts"
import type { Machine } from "../src/machine/Machine.ts"

/** The round trips of pings, in milliseconds. */
export const roundTrips = (from: Machine, to: string, count: number) =>
  Effect.map(from.succeed(`ping -c ${count} -i 0.05 -W 5 ${to}`), (said) =>
    [...said.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time))
  )

export const median = (numbers: ReadonlyArray<number>): number =>
  numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? Number.NaN

/**
 * The median round trip that something adds to pings, in milliseconds: of a hundred with it and a hundred without it, by turns of twenty, so that what else the
 * host does delays both alike.
 */
export const added = Effect.fnUntraced(function* (
  from: Machine,
  to: string,
  impair: Effect.Effect<unknown, unknown, Scope.Scope>
) {
  const usual: Array<number> = []
  const impaired: Array<number> = []
  for (let turn = 0; turn < 5; turn += 1) {
    usual.push(...(yield* roundTrips(from, to, 20)))
    impaired.push(...(yield* Effect.scoped(Effect.andThen(impair, roundTrips(from, to, 20)))))
  }
  return median(impaired) - median(usual)
})

/**
 * Pings, each as soon as the one before was answered, or after 50 ms; gives how many were sent and how many came back, duplicates left out.
 *
 * The raw socket of busybox's ping holds 12 answers (`drops` of `/proc/net/raw`). With a fixed interval of 2 ms, a guest that is busy for 24 ms loses answers
 * that its kernel has counted.
 */
export const flood = (from: Machine, to: string, count: number) =>
  Effect.map(from.execute(`ping -q -A -c ${count} -i 0.05 -W 2 ${to}`), ({ stdout }) => {
    const [, sent, received] = /(\d+) packets transmitted, (\d+) packets received/.exec(stdout) ?? []
    return { sent: Number(sent), received: Number(received) }
  })

/** A number of `/proc/net/snmp`, such as `Icmp InEchos`. */
export const snmp = (machine: Machine, protocol: string, name: string) =>
  Effect.map(machine.succeed(`grep ^${protocol}: /proc/net/snmp`), (said) => {
    const [names = [], values = []] = said.split("\n").map((line) => line.split(" "))
    return Number(values[names.indexOf(name)])
  })

/** Serves a file of random bytes on TCP port 80; gives its checksum. */
export const serve = Effect.fnUntraced(function* (machine: Machine, megabytes: number) {
  yield* machine.succeed(
    "mkdir -p /tmp/www",
    `dd if=/dev/urandom of=/tmp/www/blob bs=1M count=${megabytes} 2>/dev/null`,
    "pidof nc >/dev/null || nc -ll -p 80 -e cat /tmp/www/blob </dev/null >/dev/null 2>&1 &"
  )
  yield* machine.waitForOpenPort(80)
  return (yield* machine.succeed("sha256sum </tmp/www/blob")).trim()
})

/** Fetches that file from an address; gives the checksum of what came. The `wget` of Debian's static busybox crashes. */
export const fetchSum = (machine: Machine, address: string) =>
  Effect.map(machine.succeed(`nc ${address} 80 </dev/null | sha256sum`, { timeout: "2 minutes" }), (sum) => sum.trim())

/** Ends the switch of a VLAN, as a crash would. */
export const crashSwitch = (vlan: number) =>
  Effect.gen(function* () {
    const { roots } = yield* Observer.snapshot
    const find = (nodes: ReadonlyArray<Observer.Node>, inside: boolean): Observer.Node | undefined => {
      for (const node of nodes) {
        if (inside && node.label === "switch") return node
        const below = find(node.children, inside || node.label === `VLAN ${vlan}`)
        if (below !== undefined) return below
      }
      return undefined
    }
    const found = find(roots, false)
    if (found !== undefined) yield* Process.exit(found.pid, ExitReason.custom("boom"))
    return found !== undefined
  })
