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
 * The median round trip that something adds to pings, in milliseconds. A host with other things to do delays some rounds, so one of them counts
 * that is within 20 ms of what is expected.
 */
export const added = Effect.fnUntraced(function* (
  from: Machine,
  to: string,
  expected: number,
  impair: Effect.Effect<unknown, unknown, Scope.Scope>
) {
  let last = Number.NaN
  for (let round = 0; round < 5; round += 1) {
    const usual = median(yield* roundTrips(from, to, 20))
    const impaired = yield* Effect.scoped(Effect.andThen(impair, roundTrips(from, to, 20)))
    last = median(impaired) - usual
    if (Math.abs(last - expected) <= 20) return last
  }
  return last
})

/** Pings as fast as every 2 ms; gives how many came back, duplicates left out. */
export const flood = (from: Machine, to: string, count: number) =>
  Effect.map(from.execute(`ping -q -c ${count} -i 0.002 -W 2 ${to}`), ({ stdout }) =>
    Number(/(\d+) packets received/.exec(stdout)?.[1])
  )

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
