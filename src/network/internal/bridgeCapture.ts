/** A `tcpdump` at a port, which sees what its card sends, after the port's own impairments. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as HostProcess from "../../host/HostProcess.ts"
import { CaptureFailed, type Watcher } from "../Capture.ts"
import { FabricUnavailable } from "../Vlan.ts"
import * as Commands from "./bridgeCommands.ts"
import { missing, type Namespace } from "./namespace.ts"
import { PcapReader } from "./pcap.ts"

const cannot = (reason: string, advice: string) => new FabricUnavailable({ doing: "capture packets", reason, advice })

/** The program, or why there is none. */
export const tcpdump: Effect.Effect<string, FabricUnavailable> = Effect.mapError(
  HostProcess.locate("tcpdump"),
  (error) => new FabricUnavailable({ doing: "capture packets", ...missing(error) })
)

/** How long to wait until it listens. */
const readyWithin = Duration.seconds(10)

/** How long what was sent may be on its way through the kernel, tcpdump and a pipe. */
const settledWithin = Duration.seconds(5)

/** How often to ask whether it has arrived. */
const untilSettled = Schedule.spaced("2 millis")

/**
 * After how many equal answers nothing more comes. Between two answers tcpdump goes on with what the kernel has for it, so it would have counted more. The counters
 * themselves cannot be compared: those of the kernel have both directions.
 */
const enoughEqual = 8

/** How many characters of what it printed an error has. */
const mostOutput = 1000

/** Where to listen, and who hears of it. */
export interface Options {
  readonly command: string
  readonly namespace: Pick<Namespace, "inside">
  readonly devices: Commands.Devices
  /** The name of the port. */
  readonly from: string
  readonly watcher: Watcher
}

/** What it counts: packets that it has written, and those that it was too slow for. */
interface Statistics {
  readonly written: number
  readonly dropped: number
}

/** It prints them when it gets SIGUSR1. */
export const statisticsIn = (line: string): Statistics | undefined => {
  const [, written, dropped] = /(\d+) packets? captured, .*?(\d+) packets? dropped by kernel/.exec(line) ?? []
  return written === undefined ? undefined : { written: Number(written), dropped: Number(dropped) }
}

/** What is known of a tcpdump that runs. */
class State {
  readonly listening = Deferred.makeUnsafe<void, FabricUnavailable>()
  readonly reader = new PcapReader()
  seen = 0
  output = ""
  statistics: Statistics | undefined
  /** How many statistics in a row were the same. */
  private equal = 0
  private before = ""
  isStopping = false

  /** A line of its standard error: "listening on v1p1o, …" is its first, or the reason why it ends. */
  hear(line: string): void {
    const statistics = statisticsIn(line)
    if (statistics !== undefined) {
      this.equal = line === this.before ? this.equal + 1 : 0
      this.before = line
      this.statistics = statistics
    } else if (line.includes("listening on")) Deferred.doneUnsafe(this.listening, Effect.void)
    else this.output = `${this.output}${line}\n`.slice(-mostOutput)
  }

  /** Whether all that the kernel had for it has come here. */
  get isSettled(): boolean {
    const { equal, seen, statistics } = this
    return statistics !== undefined && seen >= statistics.written && equal >= enoughEqual
  }
}

/** Waits until what was sent before has been seen. The kernel counts a packet when it is sent. */
const settle = (state: State, tcpdump: HostProcess.HostProcess) => {
  const ask = Effect.sync(() => {
    state.statistics = undefined
    // Only tcpdump itself: the signal ends what else is in its group.
    Result.try(() => process.kill(tcpdump.pid, "SIGUSR1"))
  })
  const answered = Effect.sync(() => state.statistics !== undefined || tcpdump.status() !== undefined)
  const round = Effect.andThen(ask, Effect.repeat(answered, { until: (yes) => yes, schedule: untilSettled }))
  return Effect.repeat(round, {
    until: () => state.isSettled || tcpdump.status() !== undefined,
    schedule: untilSettled
  }).pipe(
    Effect.timeoutOption(settledWithin),
    // Programs take real time, also in a test that has put another clock in its place.
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )
}

/** Listens at a port until the scope closes; returns when it does. */
export const start = Effect.fnUntraced(function* ({ command, devices, from, namespace, watcher }: Options) {
  const state = new State()
  const tcpdump = yield* HostProcess.spawn({
    ...{ name: `the capture of ${from}`, stdout: "pipe", stderr: "pipe", grace: 0, wholeGroup: true },
    ...namespace.inside({ command, args: Commands.tcpdumpOf(devices) })
  }).pipe(Effect.mapError(({ message }) => cannot(message, "run vmtest doctor for more")))
  const seeing = Stream.runForEach(tcpdump.stdout, (chunk) =>
    Effect.sync(() => {
      for (const { frame, time } of state.reader.push(Buffer.from(chunk))) {
        state.seen += 1
        watcher.see({ time, from, fate: "passed", frame })
      }
    })
  )
  const hearing = tcpdump.stderr.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => Effect.sync(() => state.hear(line)))
  )
  /** Its pipes end with it. */
  const run = Effect.gen(function* () {
    yield* Effect.ignore(Effect.all([seeing, hearing], { concurrency: 2 }))
    const reason = `ended with ${HostProcess.describeStatus(yield* tcpdump.exited)}`
    const output = state.output.trim()
    if (state.isStopping) return
    const neverBegan = cannot(`tcpdump ${reason}${output === "" ? "" : `: ${output}`}`, "run vmtest as root")
    if (yield* Deferred.fail(state.listening, neverBegan)) return
    yield* watcher.onEnd(new CaptureFailed({ card: from, reason: `${reason} while the test ran`, output }))
  })
  yield* Effect.forkScoped(run, { startImmediately: true })
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* settle(state, tcpdump)
      state.isStopping = true
      const { dropped = 0 } = state.statistics ?? {}
      if (dropped === 0) return
      // Its buffer is that of both directions.
      yield* watcher.onDropped(
        `packets of ${from} may be missing: tcpdump: ${dropped} packets dropped by kernel, sent by ${from} or to it`
      )
    })
  )
  yield* Effect.timeoutOrElse(Deferred.await(state.listening), {
    duration: readyWithin,
    orElse: () =>
      Effect.fail(cannot(`tcpdump did not listen within ${Duration.format(readyWithin)}`, "run fewer tests at once"))
  })
})
