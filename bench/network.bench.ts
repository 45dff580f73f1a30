/**
 * TCP and round trips between two guests over each fabric, beside the same guests on the same QEMU over what they would use without vmtest: a
 * `vde_switch`, a socket from one QEMU to the other with nothing in between, and TAPs on a bridge of the host, for which the bench must be root.
 *
 * Both guests have a card of the same model on each way, and take them by turns, so that a busy host hits all of them. iperf3 and ping, from Debian, measure.
 * What a network of five machines on two VLANs adds to their boot is measured beside the same machines without networks, and beside the same machines with as
 * many cards that lead nowhere, which vmtest does not set up. Round trips and boots are measured in pairs: the rounds are short, each takes the ways in another
 * order, and a ratio or a difference is the median of those of the rounds. `--rounds=5` is the default, of which there are four times as many for round trips;
 * `--only=traffic` or `--only=boots` leaves the other part out. Nothing else should run.
 */
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { type Case, median, paired, progress, report } from "./harness.ts"

const rounds = Number(/--rounds=(\d+)/.exec(process.argv.join(" "))?.[1] ?? 5)
const only = /--only=(\w+)/.exec(process.argv.join(" "))?.[1]
const folder = mkdtempSync(join(tmpdir(), "vmtest-bench-"))

/** A way from one guest to the other: the address of the server on it. */
interface Way {
  readonly name: string
  readonly address: string
}

const card = (id: string, netdev: string, mac: string) => [
  ...["-netdev", `${netdev},id=${id}`],
  ...["-device", `virtio-net-pci,netdev=${id},mac=${mac},romfile=,guest_announce=off`]
]

/** A bridge of the host with a TAP for each guest, by names of their own; false without the rights for it. */
const makeBridge = (): boolean => {
  const script = `ip link add vmtbench0 type bridge && ip link set vmtbench0 up && for n in 1 2; do
    ip tuntap add vmtbench0-$n mode tap vnet_hdr && ip link set vmtbench0-$n master vmtbench0 && ip link set vmtbench0-$n up || exit 1; done`
  const made = spawnSync("sh", ["-c", script], { encoding: "utf8" })
  if (made.status !== 0) progress(`no bare bridge: ${made.stderr.trim()}`)
  return made.status === 0
}

const bridge = makeBridge()

const removeBridge = () => spawnSync("sh", ["-c", "for n in 0-1 0-2 0; do ip link del vmtbench$n 2>/dev/null; done"])

/** The cards of a guest that vmtest knows nothing of. */
const bare = (node: number): ReadonlyArray<string> => [
  ...(bridge ? card("baretap", `tap,ifname=vmtbench0-${node},script=no,downscript=no`, `52:54:00:77:02:0${node}`) : []),
  ...card("barevde", `vde,sock=${folder}/vde.ctl`, `52:54:00:77:00:0${node}`),
  ...card(
    "baresocket",
    `stream,server=${node === 1 ? "on" : "off"},addr.type=unix,addr.path=${folder}/direct`,
    `52:54:00:77:01:0${node}`
  )
]

const throughput = (client: Machine, { address }: Way) =>
  Effect.map(
    client.succeed(`iperf3 --client ${address} --time 4 --omit 1 --json`, { timeout: "1 minute" }),
    (text): number => JSON.parse(text).end.sum_received.bits_per_second / 8e6
  )

const roundTrip = (client: Machine, { address }: Way) =>
  Effect.map(client.succeed(`ping -c 30 -i 0.01 ${address} | sed -n 's/.*time=\\([0-9.]*\\).*/\\1/p'`), (text) =>
    median(text.trim().split("\n").map(Number))
  )

/** The same things, beginning with another one in each round, and backwards in every second one: no neighbours keep their order. */
const inTurn = <A>(things: ReadonlyArray<A>, round: number): ReadonlyArray<A> => {
  const first = Math.floor(round / 2) % things.length
  const turned = [...things.slice(first), ...things.slice(0, first)]
  return round % 2 === 0 ? turned : turned.reverse()
}

/** Measures each thing once a round; the results by thing, in the order of the rounds. The first round warms the caches of the emulator. */
const inRounds = Effect.fnUntraced(function* <A, E, R>(
  things: ReadonlyArray<A>,
  count: number,
  measure: (thing: A, round: number) => Effect.Effect<number, E, R>
) {
  const results = new Map<A, Array<number>>(things.map((thing) => [thing, []]))
  for (let round = 0; round <= count; round++) {
    for (const thing of inTurn(things, round)) {
      const result = yield* measure(thing, round)
      if (round > 0) results.get(thing)?.push(result)
    }
  }
  return (thing: A): ReadonlyArray<number> => results.get(thing) ?? []
})

/** Starts the machines one after the other, as the second one's socket must be there. */
const pair = Effect.fnUntraced(function* (driver: Driver["Service"]) {
  const image = Image.debian({ packages: ["iperf3", "iputils-ping"] })
  const options = (node: number) => ({
    ...({ image, memory: "512 MiB", snapshot: false, autoStart: false } as const),
    ...{ vlans: ["switched", ...(bridge ? ["bridged"] : [])], qemuArguments: [...bare(node)] }
  })
  const server = yield* driver.machine("a", options(1))
  const client = yield* driver.machine("b", options(2))
  for (const [machine, node] of [
    [server, 1],
    [client, 2]
  ] as const) {
    yield* machine.start()
    for (const [net, way] of [["00", 8], ["01", 9], ...(bridge ? [["02", 10] as const] : [])] as const) {
      yield* machine.succeed(
        `d=$(grep -l 52:54:00:77:${net}:0${node} /sys/class/net/*/address | cut -d/ -f5); ip addr add 10.77.${way}.${node}/24 dev $d; ip link set $d up`
      )
    }
  }
  yield* server.succeed("iperf3 --server --daemon")
  return [server, client] as const
})

const switched: Way = { name: "vmtest's switch", address: "192.168.1.1" }
const bridged: Way = { name: "vmtest's bridge", address: "192.168.2.1" }
const vdeSwitch: Way = { name: "a bare vde_switch", address: "10.77.8.1" }
const socket: Way = { name: "a bare socket between the two", address: "10.77.9.1" }
const tap: Way = { name: "bare TAPs on a bridge", address: "10.77.10.1" }

/** What is compared with what; the goal is for what the fabric replaces. */
const pairs: ReadonlyArray<readonly [ours: Way, theirs: Way, goal: boolean]> = [
  [switched, vdeSwitch, true],
  [switched, socket, false],
  ...(bridge ? [[bridged, tap, true] as const] : [])
]

const traffic = Effect.gen(function* () {
  const vde = spawn("vde_switch", ["--sock", `${folder}/vde.ctl`, "--hub"], { stdio: ["pipe", "ignore", "inherit"] })
  yield* Effect.addFinalizer(() => Effect.sync(() => vde.kill()))
  while (!existsSync(`${folder}/vde.ctl/ctl`)) yield* Effect.sleep("10 millis")
  const [, client] = yield* pair(yield* Driver)
  const ways = [...new Set([...pairs.map(([ours]) => ours), ...pairs.map(([, theirs]) => theirs)])]
  // Before the round trips: Node compiles the switch while its first thousands of frames pass.
  const ratesOf = yield* inRounds(ways, rounds, (way, round) =>
    Effect.tap(throughput(client, way), (rate) =>
      Effect.sync(() => progress(`round ${round}: ${way.name}: ${rate.toFixed(1)} MB/s`))
    )
  )
  const tripsOf = yield* inRounds(ways, 4 * rounds, (way, round) =>
    Effect.tap(roundTrip(client, way), (trip) =>
      Effect.sync(() => progress(`round ${round}: ${way.name}: ${trip.toFixed(3)} ms`))
    )
  )
  return pairs.flatMap(
    ([ours, theirs, isGoal]): ReadonlyArray<Case> => [
      {
        case: `TCP over ${ours.name}, beside ${theirs.name}`,
        ...{ ...paired(ratesOf(ours), ratesOf(theirs)), unit: "MB/s" },
        ...(isGoal ? { goal: { of: "ratio", atLeast: 0.9 } as const } : {})
      },
      {
        case: `round trip over ${ours.name}, beside ${theirs.name}`,
        ...{ ...paired(tripsOf(ours), tripsOf(theirs)), unit: "ms" },
        ...(isGoal ? { goal: { of: "ratio", atMost: 1.1 } as const } : {})
      }
    ]
  )
})

/** Both fabrics; the bench's own are beside them. */
const networks = { switched: {}, ...(bridge ? { bridged: { fabric: "bridge" } as const } : {}) }

/** What five machines have, besides eth0. */
interface Cards {
  readonly name: string
  readonly vlans: ReadonlyArray<number>
  readonly qemuArguments: ReadonlyArray<string>
}

const noCards: Cards = { name: "no VLAN", vlans: [], qemuArguments: [] }
const bareCards: Cards = {
  name: "two cards that lead nowhere",
  vlans: [],
  qemuArguments: [1, 2].flatMap((hub) => card(`bare${hub}`, `hubport,hubid=10${hub}`, `52:54:00:77:03:0${hub}`))
}
const onVlans: Cards = { name: "two VLANs", vlans: [1, 2], qemuArguments: [] }

/** Five machines from their start until all are ready, in milliseconds. */
const bootOf = ({ qemuArguments, vlans }: Cards) =>
  Effect.gen(function* () {
    const driver = yield* Driver
    // Switches and ports are made with the machines.
    const started = performance.now()
    const machines = yield* Effect.forEach([1, 2, 3, 4, 5], (node) =>
      driver.machine(`m${node}`, {
        ...{ image: Image.tiny(), memory: "96 MiB", snapshot: false, autoStart: false, vlans, qemuArguments }
      })
    )
    yield* Effect.forEach(machines, (machine) => machine.start(), { concurrency: "unbounded" })
    const took = performance.now() - started
    yield* Effect.forEach(machines, (machine) => machine.crash(), { concurrency: "unbounded" })
    return took
  })

const layer = (name: string, options: { readonly networks?: typeof networks } = {}) =>
  DriverLayer.layer({ name, ...options, output: join(tmpdir(), "vmtest-bench-output"), snapshots: false })

const boots = Effect.gen(function* () {
  const timesOf = yield* inRounds([onVlans, bareCards, noCards], 2 * rounds, (cards, round) =>
    Effect.tap(Effect.provide(bootOf(cards), layer(`bench-boot-${round}`)), (took) =>
      Effect.sync(() => progress(`round ${round}: five machines on ${cards.name}: ${took.toFixed(0)} ms`))
    )
  )
  return [
    {
      case: "boot of five machines on two VLANs, beside none",
      ...{ ...paired(timesOf(onVlans), timesOf(noCards)), unit: "ms" },
      goal: { of: "difference", atMost: 300 }
    },
    {
      case: "boot of five machines with two cards that lead nowhere, beside none",
      ...{ ...paired(timesOf(bareCards), timesOf(noCards)), unit: "ms" }
    },
    {
      case: "boot of five machines on two VLANs, beside two cards that lead nowhere",
      ...{ ...paired(timesOf(onVlans), timesOf(bareCards)), unit: "ms" }
    }
  ] satisfies ReadonlyArray<Case>
})

const program = Effect.gen(function* () {
  const cases =
    only === "boots" ? [] : yield* Effect.scoped(Effect.provide(traffic, layer("bench-network", { networks })))
  return only === "traffic" ? cases : [...cases, ...(yield* boots)]
}).pipe(
  Effect.ensuring(
    Effect.sync(() => {
      removeBridge()
      rmSync(folder, { recursive: true, force: true })
    })
  )
)

process.exitCode = report("network", await Effect.runPromise(program)) ? 0 : 1
