/**
 * How soon waits return, beside a loop that asks once a second as the NixOS test driver does, in one guest.
 *
 * The guest notes by its own clock when the event happened. What its clock is ahead of the host's is measured in each round, as the best of
 * several round trips; the error is half of the shortest, a few milliseconds. The guest is booted, not forked, and nothing else should run: a busy host
 * shows in every figure. A run takes about ten minutes; `--rounds=20` makes it shorter.
 */

import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { type Case, median, progress, report } from "./harness.ts"

const rounds = Number(/--rounds=(\d+)/.exec(process.argv.join(" "))?.[1] ?? 100)
const baselineRounds = Math.max(5, Math.round(rounds / 10))

const percentile = (values: ReadonlyArray<number>, part: number) =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * part) - 1] ?? Number.NaN

const limit = { timeout: "1 minute" } as const

const now = () => performance.timeOrigin + performance.now()

/** What is to be added to a time of the guest, in milliseconds, to have that of the host. */
const offset = Effect.fnUntraced(function* (machine: Machine) {
  let best = { trip: Number.POSITIVE_INFINITY, ahead: 0 }
  for (let i = 0; i < 6; i++) {
    const before = now()
    const guest = Number(yield* machine.succeed("echo $EPOCHREALTIME")) * 1000
    const after = now()
    if (after - before < best.trip) best = { trip: after - before, ahead: (before + after) / 2 - guest }
  }
  return best.ahead
})

/** One kind of wait. Times in the guest are in milliseconds. */
interface Kind {
  readonly name: string
  /** The most that the median may be, in milliseconds. */
  readonly goal: number
  /** Lets the event happen in about 0.3 s. */
  readonly arm: (machine: Machine, id: number) => Effect.Effect<unknown, unknown>
  readonly wait: (machine: Machine, id: number) => Effect.Effect<unknown, unknown>
  /** One look of the loop that asks once a second. */
  readonly look: (machine: Machine, id: number) => Effect.Effect<boolean, unknown>
  /** When it happened. */
  readonly happened: (machine: Machine, id: number) => Effect.Effect<number, unknown>
}

const background = (command: string) => `{ ${command}; } </dev/null >/dev/null 2>&1 &`
const stamp = (machine: Machine, id: number) =>
  Effect.map(machine.succeed(`cat /tmp/stamp-${id}`), (text) => Number(text) * 1000)
const holds = (machine: Machine, command: string) =>
  Effect.map(machine.execute(command), ({ exitCode }) => exitCode === 0)

const kinds: ReadonlyArray<Kind> = [
  {
    name: "unit",
    goal: 150,
    arm: (machine, id) => machine.succeed(`systemctl start --no-block bench@${id}.service`),
    wait: (machine, id) => machine.waitForUnit(`bench@${id}.service`, limit),
    look: (machine, id) =>
      Effect.map(machine.execute(`systemctl --no-pager show bench@${id}.service`), ({ stdout }) =>
        /^ActiveState=active$/m.test(stdout)
      ),
    happened: (machine, id) =>
      Effect.map(
        machine.succeed(
          `t=$(systemctl show -P ActiveEnterTimestamp --timestamp=us bench@${id}.service); date -d "\${t#* }" +%s.%N`
        ),
        (text) => Number(text) * 1000
      )
  },
  {
    name: "port",
    goal: 50,
    arm: (machine, id) => machine.succeed(background(`perl /tmp/listen.pl ${20_000 + id} /tmp/stamp-${id}`)),
    wait: (machine, id) => machine.waitForOpenPort(20_000 + id, undefined, limit),
    look: (machine, id) => holds(machine, `( exec 3<>/dev/tcp/127.0.0.1/${20_000 + id} ) 2>/dev/null`),
    happened: stamp
  },
  {
    name: "file",
    goal: 50,
    arm: (machine, id) =>
      machine.succeed(background(`sleep 0.3; echo $EPOCHREALTIME > /tmp/stamp-${id}; : > /tmp/file-${id}`)),
    wait: (machine, id) => machine.waitForFile(`/tmp/file-${id}`, limit),
    look: (machine, id) => holds(machine, `test -e /tmp/file-${id}`),
    happened: stamp
  },
  {
    name: "console line",
    goal: 50,
    arm: (machine, id) =>
      machine.succeed(
        background(`sleep 0.3; t=$EPOCHREALTIME; echo "line ${id} is here" > /dev/console; echo $t > /tmp/stamp-${id}`)
      ),
    wait: (machine, id) => machine.waitForConsoleText(new RegExp(`line ${id} is here\\n`), limit),
    look: (machine, id) => Effect.map(machine.getConsoleLog(), (log) => log.includes(`line ${id} is here`)),
    happened: (machine, id) => Effect.andThen(machine.waitUntilSucceeds(`test -s /tmp/stamp-${id}`), stamp(machine, id))
  },
  {
    name: "waitUntilSucceeds",
    goal: 100,
    arm: (machine, id) =>
      machine.succeed(background(`sleep 0.3; echo $EPOCHREALTIME > /tmp/stamp-${id}; : > /tmp/file-${id}`)),
    wait: (machine, id) => machine.waitUntilSucceeds(`test -e /tmp/file-${id}`, limit),
    look: (machine, id) => holds(machine, `test -e /tmp/file-${id}`),
    happened: stamp
  }
]

const onceASecond = (look: Effect.Effect<boolean, unknown>) =>
  Effect.gen(function* () {
    while (!(yield* look)) yield* Effect.sleep("1 second")
  }).pipe(Effect.timeout("1 minute"))

let ids = 0

const measure = Effect.fnUntraced(function* (machine: Machine, kind: Kind, ours: boolean) {
  const id = ++ids
  const ahead = yield* offset(machine)
  const waiting = yield* Effect.forkChild(
    Effect.map(ours ? kind.wait(machine, id) : onceASecond(kind.look(machine, id)), now)
  )
  // A unit that nothing starts is an error.
  if (kind.name === "unit") {
    yield* Fiber.interrupt(waiting)
    yield* kind.arm(machine, id)
    yield* ours ? kind.wait(machine, id) : onceASecond(kind.look(machine, id))
    const returned = now()
    return returned - (yield* kind.happened(machine, id)) - ahead
  }
  yield* kind.arm(machine, id)
  const returned = yield* Fiber.join(waiting)
  return returned - (yield* kind.happened(machine, id)) - ahead
})

const waits = Effect.fnUntraced(function* (machine: Machine) {
  const cases: Array<Case> = []
  for (const kind of kinds) {
    progress(`waiting: ${kind.name}`)
    const ours: Array<number> = []
    const theirs: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      ours.push(yield* measure(machine, kind, true))
      if (theirs.length < (baselineRounds * (round + 1)) / rounds) theirs.push(yield* measure(machine, kind, false))
    }
    const baseline = { unit: "ms", baseline: median(theirs) }
    progress(`  ${median(ours).toFixed(0)} ms, asked once a second ${median(theirs).toFixed(0)} ms`)
    cases.push(
      { case: `${kind.name}, median`, value: median(ours), ...baseline, goal: { of: "value", atMost: kind.goal } },
      {
        case: `${kind.name}, 99th percentile`,
        value: percentile(ours, 0.99),
        unit: "ms",
        baseline: percentile(theirs, 0.99),
        goal: { of: "value", atMost: kind.goal * 3 }
      }
    )
  }
  return cases
})

const mebibyte = 1024 * 1024

/** A here-document of base64, as the shell of a guest reads it. */
const overShell = Effect.fnUntraced(function* (machine: Machine, content: Buffer) {
  const before = now()
  const stdin = `base64 -d > /tmp/shell <<'END'\n${content.toString("base64").replace(/.{76}/g, "$&\n")}\nEND\n`
  yield* machine.succeed("bash", { stdin, timeout: "5 minutes" })
  return content.length / mebibyte / ((now() - before) / 1000)
})

const copying = Effect.fnUntraced(function* (machine: Machine, folder: string) {
  const content = randomBytes(100 * mebibyte)
  const file = join(folder, "content")
  writeFileSync(file, content)
  const ours: Array<number> = []
  const theirs: Array<number> = []
  for (let round = 0; round < 3; round++) {
    progress(`copying: ${round + 1} of 3`)
    const before = now()
    yield* machine.copyFromHost(file, "/tmp/copied")
    ours.push(100 / ((now() - before) / 1000))
    progress(`  ${ours.at(-1)?.toFixed(1)} MiB/s`)
    yield* machine.succeed("rm /tmp/copied")
    theirs.push(yield* overShell(machine, content.subarray(0, mebibyte)))
    progress(`  over a shell ${theirs.at(-1)?.toFixed(3)} MiB/s`)
  }
  return [
    {
      case: "copyFromHost of 100 MiB",
      value: median(ours),
      baseline: median(theirs),
      unit: "MiB/s",
      goal: { of: "ratio", atLeast: 10 }
    }
  ] satisfies ReadonlyArray<Case>
})

/** The Perl that every Debian has, without modules of its own for time: 96 is gettimeofday on x86-64. */
const listen = `use Socket;
my ($port, $stamp) = @ARGV;
socket(my $s, PF_INET, SOCK_STREAM, 0) or die; bind($s, sockaddr_in($port, INADDR_ANY)) or die;
open(my $f, ">", $stamp) or die; select(undef, undef, undef, 0.3);
my $now = "\\0" x 16; syscall(96, $now, 0); listen($s, 5);
printf $f "%d.%06d", unpack("q2", $now); close $f; sleep 6;
`

const main = Effect.gen(function* () {
  const driver = yield* Driver
  progress("starting the guest")
  const machine = yield* driver.machine("bench", {
    image: Image.debian({ packages: ["nginx-light"] }),
    memory: "1 GiB",
    cpus: 2
  })
  yield* machine.start()
  yield* machine.waitForUnit("multi-user.target")
  yield* machine.writeFile("/tmp/listen.pl", listen)
  yield* machine.writeFile(
    "/etc/systemd/system/bench@.service",
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.3\n"
  )
  yield* machine.succeed("systemctl daemon-reload")
  const folder = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
  yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
  const cases = yield* waits(machine)
  return [...cases, ...(yield* copying(machine, folder))]
})

const program = Effect.scoped(main).pipe(
  Effect.provide(DriverLayer.layer({ name: "bench", output: join(tmpdir(), "vmtest-bench-output"), snapshots: false }))
)
process.exitCode = report("machine", await Effect.runPromise(program)) ? 0 : 1
