import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import { Reporter } from "../src/driver/RunEvent.ts"
import * as Runner from "../src/driver/Runner.ts"
import { test } from "../src/driver/TestCase.ts"
import { findTool } from "../src/host/internal/tools.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { titled } from "../test/needs.ts"

const tiny = { image: Image.tiny(), memory: "128 MiB" } as const
const tool = (name: string) => findTool(name, process.env.PATH)
const missing = ["tshark", "capinfos", "tcpdump"].filter((name) => tool(name) === undefined)
const why = missing.length > 0 ? `a reader of captures is not installed: ${missing.join(", ")}` : undefined

const read = (program: string, args: ReadonlyArray<string>) =>
  execFileSync(tool(program)!, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })

/** The packets of a file that a filter of Wireshark's shows, a line each. */
const shown = (file: string, filter: string, ...fields: ReadonlyArray<string>) =>
  read("tshark", ["-n", "-r", file, "-Y", filter, "-T", "fields", ...fields.flatMap((field) => ["-e", field])])
    .split("\n")
    .slice(0, -1)

const sentBy = (file: string, card: string) => shown(file, `frame.interface_name == "${card}"`, "frame.number").length

type Counter = "tx_packets" | "rx_packets"

const counter = (machine: Machine, name: Counter) =>
  Effect.map(machine.succeed(`cat /sys/class/net/eth1/statistics/${name}`), Number)

/** What a guest has counted, and what is in the file, at a moment at which neither changes. */
const point = Effect.fnUntraced(function* (file: string, a: Machine, b: Machine) {
  const guests = Effect.all([
    counter(a, "tx_packets"),
    counter(a, "rx_packets"),
    counter(b, "tx_packets"),
    counter(b, "rx_packets")
  ])
  for (;;) {
    const before = yield* guests
    yield* Effect.sleep("200 millis")
    const [fromA, fromB] = [sentBy(file, "a eth1"), sentBy(file, "b eth1")]
    if (String(before) === String(yield* guests)) return { guests: before, fromA, fromB }
  }
})

layer(DriverLayer.host, { excludeTestServices: true, timeout: "10 minutes" })("captures of networks", (it) => {
  it.effect.skipIf(why !== undefined)(
    titled(
      "have as many packets as the guests have counted, in files that Wireshark and tcpdump read, also of a test that fails",
      why
    ),
    () =>
      Effect.gen(function* () {
        const output = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-capture-"))
        const folder = Path.join(output, "counts")
        const file = Path.join(folder, "lan.pcapng")
        const logged: Array<string> = []
        const counts = test("counts", { networks: { lan: {} }, machines: { a: tiny, b: tiny } }, ({ a, b }, driver) =>
          Effect.gen(function* () {
            const asked = yield* Effect.forkScoped(
              Stream.runHead(Stream.filter(driver.network("lan").capture, ({ frame }) => frame.length === 1042)),
              { startImmediately: true }
            )
            // Cards leave out groups of IPv6 that they are not in, after the switch has carried them.
            for (const machine of [a, b]) yield* machine.succeed("echo 1 > /proc/sys/net/ipv6/conf/eth1/disable_ipv6")
            // What a guest says about itself, such as its routers and groups, comes in its first seconds.
            yield* Effect.sleep("5 seconds")
            const begin = yield* point(file, a, b)
            yield* a.succeed("ping -c 20 -i 0.05 -s 1000 b", "ping -c 300 -i 0.01 b")
            const end = yield* point(file, a, b)
            const [txA, rxA, txB, rxB] = end.guests.map((value, index) => value - begin.guests[index]!)
            const [fromA, fromB] = [end.fromA - begin.fromA, end.fromB - begin.fromB]
            assert.isAbove(fromA, 319)
            assert.deepStrictEqual({ txA, rxA, txB, rxB }, { txA: fromA, rxA: fromB, txB: fromB, rxB: fromA })
            assert.strictEqual(Option.getOrThrow(yield* Fiber.join(asked)).from, "a eth1")

            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* a.link("eth1").impair({ loss: "100 %" })
                yield* a.fail("ping -c 3 -i 0.1 -w 1 -s 777 b")
              })
            )
            yield* driver.fork(({ a }) => a.succeed("ping -c 2 -s 555 b"))
            yield* a.succeed("exit 7")
          })
        )
        const [result] = yield* Runner.run([counts], { output, capture: true }).pipe(
          Effect.provideService(Reporter, (event) =>
            Effect.sync(() => {
              if (event._tag === "Log") logged.push(event.line)
            })
          )
        )
        assert.strictEqual(result?.status, "failed")
        assert.include(String(result?.failure?.message), "exit 7")
        assert.deepStrictEqual(logged, [])
        assert.strictEqual(result?.folder, folder)

        const about = read("capinfos", [file])
        assert.match(about, /File type:\s+Wireshark\/\.\.\. - pcapng/)
        assert.match(about, /Number of interfaces in file:\s+2\n/)
        assert.match(about, /Capture comment:\s+lan of the test "counts"/)
        const lost = shown(
          file,
          "icmp && data.len == 777",
          "frame.interface_name",
          "frame.comment",
          "frame.packet_flags_direction"
        )
        assert.isAtLeast(lost.length, 2)
        for (const line of lost) assert.strictEqual(line, "a eth1\tlost by the impairment of a eth1\t0x00000002")
        assert.lengthOf(shown(file, "icmp && data.len == 555", "frame.number"), 0)
        assert.lengthOf(shown(Path.join(folder, "lan-fork1.pcapng"), "icmp && data.len == 555", "frame.number"), 4)
        const lines = read("tcpdump", ["-n", "-r", file, "icmp"]).split("\n").slice(0, -1)
        assert.strictEqual(lines.length, 640 + lost.length)
        Fs.rmSync(output, { recursive: true })
      })
  )

  it.effect.skipIf(why !== undefined)(titled("can be read after a run that was killed", why), () =>
    Effect.gen(function* () {
      const place = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-capture-"))
      const script = Path.join(place, "pings.ts")
      Fs.writeFileSync(
        script,
        `import { Image, test } from "vmtest"
const machine = { image: Image.tiny(), memory: "128 MiB" }
export default test("pings", { machines: { a: machine, b: machine } }, ({ a }) => a.succeed("ping -i 0.01 b"))
`
      )
      const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
      const child = spawn(process.execPath, [launcher, "run", "--capture", "-o", Path.join(place, "out"), script], {
        stdio: "ignore"
      })
      const ended = new Promise((resolve) => child.once("exit", resolve))
      const file = Path.join(place, "out", "pings", "vlan1.pcapng")
      yield* Effect.sync(() => Fs.existsSync(file) && Fs.statSync(file).size > 100_000).pipe(
        Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (there) => there }),
        Effect.timeout("2 minutes"),
        Effect.ensuring(Effect.sync(() => child.kill("SIGKILL")))
      )
      yield* Effect.promise(() => ended)
      assert.match(read("capinfos", [file]), /Number of interfaces in file:\s+2\n/)
      assert.isAbove(shown(file, "icmp", "frame.number").length, 300)
      Fs.rmSync(place, { recursive: true })
    })
  )
})
