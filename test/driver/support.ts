/** A driver on the mock backend. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import {
  Backend,
  type BackendService,
  type Hypervisor,
  type MachineShape,
  type SavedMachine
} from "../../src/backends/Backend.ts"
import { LoadFailed } from "../../src/backends/BackendError.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import * as internal from "../../src/driver/internal/driver.ts"
import * as WarmStart from "../../src/driver/internal/warmStart.ts"
import { Reporter, type RunEvent } from "../../src/driver/RunEvent.ts"
import * as Runner from "../../src/driver/Runner.ts"
import type { StoreOptions } from "../../src/driver/SnapshotStore.ts"
import type { TestCase } from "../../src/driver/TestCase.ts"
import type { SubtestResult } from "../../src/driver/TestResult.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import type { BootImage } from "../../src/images/BootImage.ts"
import * as Image from "../../src/images/Image.ts"
import { BadImage } from "../../src/images/ImageError.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { bootMicrovm } from "../../src/images/internal/microvm.ts"
import { bootScript } from "../../src/images/internal/startScript.ts"
import * as MachineChecks from "../../src/machine/MachineChecks.ts"
import * as MachineSpec from "../../src/machine/MachineSpec.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"

export const bootImage: BootImage = {
  digest: "0",
  kernel: "/dev/null",
  initrd: "/dev/null",
  cmdline: "",
  root: undefined,
  guest: "tiny",
  builtAt: 0
}

const unused = Effect.die("not in this store")

/** Has the one image, whatever it is asked for. */
export const imageStore = ImageStore.of({
  resolve: () => Effect.succeed(bootImage),
  list: unused,
  prune: () => unused
})

/** The mock's guests do not run the script that sets the network up; machines are on no VLAN unless a test says so. */
export const offline = (options: Partial<MachineSpec.MachineOptions> = {}): MachineSpec.MachineOptions => ({
  image: Image.tiny(),
  vlans: [],
  ...options
})

const outOfSorts = ({ name }: MachineShape, damaged: boolean) =>
  Effect.fail(
    new LoadFailed({
      ...{ machine: name, directory: "there", reason: "it is out of sorts", output: "hm\nno such card\n" },
      damaged
    })
  )

export interface DriverOfOptions {
  readonly script?: string
  readonly networks?: NetworkSpec.Networks
  readonly breaks?: (from: SavedMachine, shape: MachineShape) => boolean
  /** Whether that is the fault of what was saved, and how long it takes to be known. */
  readonly damaged?: boolean
  readonly breakTime?: Duration.Input
  /** What opening the shell of a machine does. */
  readonly open?: (shell: Hypervisor["shell"]) => Hypervisor["shell"]
}

/** A driver with these machines, the mock behind it, and what was reported. */
export const driverOf = (
  machines: Readonly<Record<string, MachineSpec.MachineOptions>>,
  options: Mock.MockOptions = {},
  /** Where snapshots are kept; a path below the test's own folder would do. Default: none are. */
  snapshots: boolean | StoreOptions = false,
  /** The digest of the script, and what of that which was saved does not load. */
  {
    breakTime = 0,
    breaks = () => false,
    damaged = true,
    networks,
    open = (shell) => shell,
    script
  }: DriverOfOptions = {}
) =>
  Effect.gen(function* () {
    const base = mkdtempSync(join(tmpdir(), "vmtest-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true, force: true })))
    const mock = yield* Mock.make(options)
    const events: Array<RunEvent> = []
    const subtests: Array<SubtestResult> = []
    const folders = yield* RunDirectory.make({ base })
    let live = 0
    const backend: BackendService = {
      ...mock.backend,
      start: (shape, start) =>
        Effect.acquireRelease(
          Effect.sync(() => void live++),
          () => Effect.sync(() => void live--)
        ).pipe(
          Effect.andThen(
            start?.from !== undefined && breaks(start.from, shape)
              ? Effect.delay(outOfSorts(shape, damaged), breakTime)
              : Effect.map(mock.backend.start(shape, start), (one) => ({ ...one, shell: open(one.shell) }))
          )
        )
    }
    const warm = yield* WarmStart.make(snapshots)
    const running = yield* internal
      .make({
        test: "a test",
        machines: yield* MachineChecks.checkAll(machines, NetworkSpec.resolve(networks)),
        networks: NetworkSpec.resolve(networks),
        prefix: "1",
        output: join(base, "output"),
        resolve: () => Effect.succeed(bootImage),
        warm,
        script,
        onSubtest: (result) => subtests.push(result)
      })
      .pipe(
        Effect.provideService(Backend, backend),
        Effect.provideService(RunDirectory.RunDirectory, folders),
        Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event)))
      )
    const states = (name: string) =>
      events.flatMap((event) =>
        event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.machine === name
          ? [event.event.state]
          : []
      )
    return { ...running, finished: warm.finished, live: () => live, mock, events, subtests, states }
  }).pipe(Effect.provide(NodeServices.layer))

/** Runs tests on the mock. Its store has every image, save those with kernel parameters. */
export const runOnMock = (
  tests: ReadonlyArray<TestCase>,
  options: Mock.MockOptions = {},
  buildTime: Duration.Input = 0,
  { output = "output", ...runner }: Partial<Runner.RunnerOptions> = {},
  limits = { memory: 2 ** 40, cpus: 4 }
) =>
  Effect.gen(function* () {
    const base = mkdtempSync(join(tmpdir(), "vmtest-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true, force: true })))
    const mock = yield* Mock.make(options)
    const folders = yield* RunDirectory.make({ base })
    const store = ImageStore.of({
      resolve: (image) =>
        image._tag === "StartScriptImage"
          ? bootScript(image)
          : image._tag === "MicrovmImage"
            ? bootMicrovm(image)
            : "kernelParameters" in image && image.kernelParameters !== undefined
              ? Effect.fail(
                  new BadImage({
                    image: "tiny",
                    field: "kernelParameters",
                    reason: "kernelParameters are not to be had"
                  })
                )
              : Effect.delay(Effect.succeed(bootImage), buildTime),
      list: unused,
      prune: () => unused
    })
    // Files take time of the host, which a test's own clock does not wait for.
    const quiet = { output: join(base, output), snapshots: false, evidence: false }
    return yield* Runner.run(tests, { ...quiet, ...runner }).pipe(
      Effect.provideService(Backend, mock.backend),
      Effect.provideService(RunDirectory.RunDirectory, folders),
      Effect.provideService(ImageStore, store),
      Effect.provideService(MachineSpec.HostLimits, limits)
    )
  }).pipe(Effect.provide(NodeServices.layer))
