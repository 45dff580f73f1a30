/**
 * A backend without machines, for unit tests of test code: its guests answer from a table.
 *
 * All delays use the `Clock`, so a test with a `TestClock` decides when a guest boots, answers and dies.
 *
 * **Example** (A guest that answers two commands, and boots in 3 seconds)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { DriverLayer, Mock } from "vmtest"
 *
 * const program = Effect.gen(function* () {
 *   const mock = yield* Mock.make({
 *     guests: {
 *       web: {
 *         bootTime: "3 seconds",
 *         commands: [
 *           ["hostname", "web\n"],
 *           [/^curl /, { stderr: "connection refused\n", exitCode: 7 }]
 *         ]
 *       }
 *     }
 *   })
 *   const driver = DriverLayer.make().pipe(Layer.provide(Mock.host(mock)))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RunDirectory from "../../host/RunDirectory.ts"
import { describe } from "../../images/Image.ts"
import * as ImageStore from "../../images/ImageStore.ts"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import type { ExecuteOptions } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import type { BackendService, Capability, MachineShape, SavedMachine } from "../Backend.ts"
import { Backend } from "../Backend.ts"
import type { BackendError, SaveFailed } from "../BackendError.ts"
import { unsupported } from "../BackendError.ts"
import * as mockMachine from "./machine.ts"
import * as mockSnapshot from "./snapshot.ts"

/** How a guest answers a command. Default: no output, exit code 0, no delay. */
export interface Reply {
  readonly stdout?: string | undefined
  readonly stderr?: string | undefined
  readonly exitCode?: number | undefined
  /** How long the command takes. */
  readonly delay?: Duration.Input | undefined
  /** After the delay the guest ends in this way, and the command with it. */
  readonly ends?: { readonly exitCode?: number; readonly signal?: string } | undefined
}

/** A reply, only its stdout, or a function that gives either when the command arrives. */
export type Answer =
  | string
  | Reply
  | ((command: string, options: ExecuteOptions) => string | Reply | Effect.Effect<string | Reply, ShellError>)

/**
 * Which commands, and how to answer them. A string is the whole command, apart from blanks around it. An array gives each
 * of its answers once, and repeats the last one.
 */
export type Rule = readonly [
  matches: string | RegExp | ((command: string) => boolean),
  answer: Answer | ReadonlyArray<Answer>
]

/** A guest. */
export interface MockGuest {
  /** The first rule that matches counts. */
  readonly commands?: ReadonlyArray<Rule> | undefined
  /**
   * The answer to a command that no rule matches. Default: it succeeds without output, as does in any case the script of vmtest's own that sets
   * the machine up.
   */
  readonly otherwise?: Answer | undefined
  /**
   * The time from the start to a shell that answers. Default 0; `Infinity` for a guest that never boots. A machine that
   * resumes from a saved one does not boot.
   */
  readonly bootTime?: Duration.Input | undefined
  /** The console's text at the start. */
  readonly console?: string | undefined
  /** If set, the machine fails to start with this error. */
  readonly startError?: BackendError | undefined
  /** If set, the machine fails to be saved with this error. */
  readonly saveError?: SaveFailed | undefined
  /** How long it is stopped to be saved. Default 0. */
  readonly saveTime?: Duration.Input | undefined
  /** The control channel, for a backend with the capability `qmp`. */
  readonly control?: QmpService | undefined
}

/** Options of the backend. */
export interface MockOptions {
  /** The guests by name, or a function from the machine's shape. Default: a guest without rules. */
  readonly guests?: Readonly<Record<string, MockGuest>> | ((shape: MachineShape) => MockGuest) | undefined
  /** Default: all {@link capabilities} of the mock. */
  readonly capabilities?: Iterable<Capability> | undefined
  /** Default 1. */
  readonly timeScale?: number | undefined
  /** Default `{ hypervisor: "mock 1" }`. */
  readonly fingerprint?: Readonly<Record<string, string>> | undefined
}

/** The capabilities of this backend. */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "consoleInput",
  "pause",
  "reset",
  "powerdown",
  "reboot",
  "links",
  "snapshots"
])

/** One boot of one machine, for the test to inspect and control. */
export interface MockMachine {
  readonly shape: MachineShape
  /** The saved machine that it resumed from; undefined when it booted. */
  readonly from: SavedMachine | undefined
  /** Every command so far, in order. */
  readonly commands: Effect.Effect<ReadonlyArray<string>>
  /** Everything that was typed into the console so far. */
  readonly typed: Effect.Effect<string>
  /** The cards with unplugged cables, by their interfaces. */
  readonly unplugged: Effect.Effect<ReadonlySet<string>>
  /** Puts text on the console. */
  readonly emit: (text: string) => Effect.Effect<void>
  /** Ends the machine. Default: with exit code 0, like a guest that powers off. */
  readonly exit: (how?: { readonly exitCode?: number; readonly signal?: string }) => Effect.Effect<void>
  /** Breaks the shell: every command under way fails with `ShellLost`. A shell that is opened afterwards works. */
  readonly loseShell: (reason: string) => Effect.Effect<void>
}

/** The backend, and the test's access to its machines. */
export interface Mock {
  readonly backend: BackendService
  /** The latest boot of a machine; waits until there is one. */
  readonly machine: (name: string) => Effect.Effect<MockMachine>
  /** How often each machine was started. */
  readonly starts: (name: string) => Effect.Effect<number>
}

/** Makes a mock backend. */
export const make = (options: MockOptions = {}): Effect.Effect<Mock> =>
  Effect.sync(() => {
    const able = new Set(options.capabilities ?? capabilities)
    const started = new Map<string, ReadonlyArray<MockMachine>>()
    const awaited = new Map<string, Deferred.Deferred<MockMachine>>()
    const first = (name: string) => {
      const known = awaited.get(name) ?? Deferred.makeUnsafe<MockMachine>()
      awaited.set(name, known)
      return known
    }
    const guestOf = (shape: MachineShape): MockGuest => {
      const { guests } = options
      return (typeof guests === "function" ? guests(shape) : guests?.[shape.name]) ?? {}
    }
    return {
      backend: {
        name: "mock",
        capabilities: able,
        timeScale: options.timeScale ?? 1,
        storesSnapshots: false,
        fingerprint: Effect.succeed(options.fingerprint ?? { hypervisor: "mock 1" }),
        start: (shape, { from } = {}) =>
          Effect.gen(function* () {
            const guest = guestOf(shape)
            if (guest.startError !== undefined) return yield* Effect.fail(guest.startError)
            if (from !== undefined) {
              if (!able.has("snapshots")) return yield* unsupported("mock", "snapshots")
              yield* mockSnapshot.load(shape, from)
            }
            const { hypervisor, machine } = yield* mockMachine.start(shape, guest, able, from)
            started.set(shape.name, [...(started.get(shape.name) ?? []), machine])
            Deferred.doneUnsafe(first(shape.name), Effect.succeed(machine))
            return hypervisor
          })
      },
      machine: (name) => Effect.map(Deferred.await(first(name)), (machine) => started.get(name)?.at(-1) ?? machine),
      starts: (name) => Effect.sync(() => started.get(name)?.length ?? 0)
    }
  })

/** The backend alone, as a layer. */
export const layer = (options: MockOptions = {}): Layer.Layer<Backend> =>
  Layer.effect(
    Backend,
    Effect.map(make(options), ({ backend }) => backend)
  )

/** A store that has every image, and builds none. Its images have no files. */
export const images: Layer.Layer<ImageStore.ImageStore> = Layer.succeed(ImageStore.ImageStore, {
  resolve: (image) =>
    Effect.succeed({
      digest: describe(image),
      kernel: "/dev/null",
      initrd: "/dev/null",
      cmdline: "",
      root: undefined,
      guest: image._tag === "TinyImage" ? "tiny" : image._tag === "DebianImage" ? "debian" : "disk",
      builtAt: 0
    }),
  list: Effect.succeed([]),
  prune: () => Effect.succeed({ removed: [], bytes: 0 })
})

/** What a driver or a runner needs, as `DriverLayer.host`, with this mock in place of a hypervisor. */
export const host = ({
  backend
}: Mock): Layer.Layer<
  Backend | ImageStore.ImageStore | RunDirectory.RunDirectory | NodeServices.NodeServices,
  RunDirectory.RunDirectoryError
> => Layer.mergeAll(Layer.succeed(Backend, backend), images, RunDirectory.layer(), NodeServices.layer)
