/**
 * `vmtest fleet worker`: runs the test files that others offer.
 *
 * The first SIGTERM or SIGINT lets running files end and takes no new ones; the second gives the running ones back; the third ends the process at once.
 *
 * **Example** (A worker for two files at a time)
 *
 * ```sh
 * vmtest fleet worker --url 'postgres://builder1@db.example.org/vmtest?sslmode=require' --slots 2
 * ```
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import * as Os from "node:os"
import * as NodePath from "node:path"
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Backends from "../backends/Backends.ts"
import * as Environment from "../backends/Environment.ts"
import * as Jobs from "../fleet/Job.ts"
import * as Store from "../fleet/Store.ts"
import * as Worker from "../fleet/Worker.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as OwnFiles from "../host/OwnFiles.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import { HostLimits } from "../machine/MachineSpec.ts"
import type { Invocation } from "./CommandLine.ts"
import * as Ending from "./Ending.ts"
import * as ExitCode from "./ExitCode.ts"
import { urlOf } from "./FleetCommand.ts"
import * as Host from "./Host.ts"
import { executor } from "./internal/executor.ts"
import { complain, logToStderr, type Work } from "./Subcommand.ts"
import * as Telemetry from "./Telemetry.ts"

const isThere = (program: string) => Effect.isSuccess(HostProcess.locate(program))

/** Whether an optional tool works: hypervisors run a guest of a few instructions, the others are looked for. */
const works =
  (kvm: boolean) =>
  (tool: (typeof Jobs.optionalTools)[number]): Effect.Effect<boolean> => {
    switch (tool) {
      case "firecracker":
      case "cloud-hypervisor":
        return kvm
          ? Effect.orElseSucceed(
              Effect.map(Backends.probe(tool), ({ problem }) => problem === undefined),
              () => false
            )
          : Effect.succeed(false)
      case "jailer":
        return Effect.flatMap(Environment.program(tool), isThere)
      case "virtiofsd":
        return Effect.map(Effect.forEach(Environment.virtiofsd, isThere), (found) => found.includes(true))
      default:
        return isThere(tool)
    }
  }

/** What this host can do, tried by running it. */
export const facts = Effect.gen(function* () {
  const { accelerator, qemu } = yield* Host.findings({ refresh: false })
  const tools = yield* Effect.filter(Jobs.optionalTools, works(accelerator.name === "kvm"), { concurrency: 2 })
  const found: Jobs.Facts = { protocol: Jobs.protocol, architecture: "x86_64", accelerator: accelerator.name, tools }
  return { facts: found, qemu: qemu.version }
})

/** Tells of signals instead of ending the process: `first` of the first, `second` of the second; the third ends it. */
const signals = Effect.gen(function* () {
  const first = yield* Deferred.make<void>()
  const second = yield* Deferred.make<void>()
  yield* Effect.sync(() => {
    let count = 0
    const tell = (signal: NodeJS.Signals) => {
      count += 1
      if (count === 1) {
        process.stderr.write(`vmtest: ${signal}: taking no more files; send it again to give the running ones back\n`)
        Deferred.doneUnsafe(first, Effect.void)
      } else if (count === 2) {
        process.stderr.write(`vmtest: ${signal}: giving the running files back\n`)
        Deferred.doneUnsafe(second, Effect.void)
      } else Ending.exitNow(ExitCode.interrupted)
    }
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const earlier = process.rawListeners(signal)
      process.on(signal, tell)
      for (const listener of earlier) process.off(signal, listener as NodeJS.SignalsListener)
    }
  })
  return { first: Deferred.await(first), second: Deferred.await(second) }
})

const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(bytes))

/** Works until it is told to stop. */
export const work = (invocation: Extract<Invocation, { readonly _tag: "FleetWorker" }>): Work =>
  Effect.gen(function* () {
    const url = yield* urlOf(invocation)
    const id = randomBytes(6).toString("hex")
    const lease = Duration.millis(invocation.lease)
    const store = yield* Store.postgres(url, { worker: id, lease })
    const limits = yield* HostLimits
    const found = yield* facts
    const { path } = yield* RunDirectory.make()
    yield* Ending.removeOnExit(path)
    const { first, second } = yield* signals
    const name = invocation.name ?? Os.hostname()
    const slots = invocation.slots ?? limits.cpus
    const memory = invocation.memory ?? Math.floor(limits.memory * 0.75)
    const { accelerator, tools } = found.facts
    yield* complain(
      `worker ${name}: ${[accelerator, `${slots} at a time`, `${size(memory)} of memory`, ...tools].join(", ")}; waiting for test files`
    )
    yield* Worker.run(store, {
      ...{ id, name, slots, memory, lease, executor, facts: found.facts, drain: first, giveBack: second },
      retention: Duration.millis(invocation.keep),
      about: { version: OwnFiles.version, pid: process.pid, cpus: limits.cpus, qemu: found.qemu },
      folder: NodePath.join(path, "fleet")
    })
    return ExitCode.passed
  }).pipe(
    Effect.scoped,
    Effect.provide(logToStderr),
    Effect.provide(Telemetry.layer("vmtest-worker")),
    Effect.catch(({ message }) => Effect.as(complain(message), ExitCode.unusable))
  )
