/**
 * A backend without machines: its guests are scripts. For tests of what is built on a backend.
 *
 * Everything that takes time takes it on the `Clock`, so a test that holds the clock decides when a guest boots, answers
 * and dies.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import type { ExecuteOptions } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import type { BackendService, Capability, MachineShape, SavedMachine } from "../Backend.ts"
import { Backend } from "../Backend.ts"
import type { BackendError, SaveFailed } from "../BackendError.ts"
import { unsupported } from "../BackendError.ts"
import * as mockMachine from "./machine.ts"
import * as mockSnapshot from "./snapshot.ts"

/** What a guest does with a command. Everything left out is nothing: no output, exit code 0, at once. */
export interface Reply {
  readonly stdout?: string | undefined
  readonly stderr?: string | undefined
  readonly exitCode?: number | undefined
  /** How long the command takes. */
  readonly delay?: Duration.Input | undefined
  /** The guest ends with this after the delay, and the command with it. */
  readonly ends?: { readonly exitCode?: number; readonly signal?: string } | undefined
}

/** A reply, only its stdout, or one that is worked out when the command comes. */
export type Answer =
  | string
  | Reply
  | ((command: string, options: ExecuteOptions) => string | Reply | Effect.Effect<string | Reply, ShellError>)

/**
 * Which commands, and what to do with them. A string is the whole command, blanks around it aside. Of an array, each
 * answer is given once and the last one for ever.
 */
export type Rule = readonly [
  matches: string | RegExp | ((command: string) => boolean),
  answer: Answer | ReadonlyArray<Answer>
]

/** What a guest is. */
export interface MockGuest {
  /** The first rule that matches counts. */
  readonly commands?: ReadonlyArray<Rule> | undefined
  /** What happens to a command without a rule. Default: it succeeds and says nothing. */
  readonly otherwise?: Answer | undefined
  /**
   * From the start to a shell that answers. Default 0; `Infinity` for a guest that never gets there. A machine that goes on
   * from a saved one need not boot.
   */
  readonly bootTime?: Duration.Input | undefined
  /** What is on the console from the start. */
  readonly console?: string | undefined
  /** Why it does not even start. */
  readonly startError?: BackendError | undefined
  /** Why it cannot be saved. */
  readonly saveError?: SaveFailed | undefined
  /** How long it stands still to be saved. Default 0. */
  readonly saveTime?: Duration.Input | undefined
  /** What stands for QEMU's control channel, where the backend is given the capability `qmp`. */
  readonly control?: QmpService | undefined
}

/** The backend as a whole. */
export interface MockOptions {
  /** What each machine is, by name or for all of them. Default: a guest without rules. */
  readonly guests?: Readonly<Record<string, MockGuest>> | ((shape: MachineShape) => MockGuest) | undefined
  /** Default: all that the mock can do, see {@link capabilities}. */
  readonly capabilities?: Iterable<Capability> | undefined
  /** Default 1. */
  readonly timeScale?: number | undefined
  /** Default `{ hypervisor: "mock 1" }`. */
  readonly fingerprint?: Readonly<Record<string, string>> | undefined
}

/** What the mock can do by itself. */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "consoleInput",
  "pause",
  "reset",
  "powerdown",
  "reboot",
  "links",
  "snapshots"
])

/** One boot of one machine, from behind. */
export interface MockMachine {
  readonly shape: MachineShape
  /** What it went on from; undefined when it booted. */
  readonly from: SavedMachine | undefined
  /** Every command so far, in the order in which they came. */
  readonly commands: Effect.Effect<ReadonlyArray<string>>
  /** Everything typed into the console so far. */
  readonly typed: Effect.Effect<string>
  /** The VLANs whose cables are pulled. */
  readonly unplugged: Effect.Effect<ReadonlySet<number>>
  /** Puts text on the console. */
  readonly emit: (text: string) => Effect.Effect<void>
  /** Ends the machine unasked. Default: exit code 0, as a guest's own power-off. */
  readonly exit: (how?: { readonly exitCode?: number; readonly signal?: string }) => Effect.Effect<void>
  /** Breaks the shell: every command under way fails with `ShellLost`. A shell that is opened anew works. */
  readonly loseShell: (reason: string) => Effect.Effect<void>
}

/** A backend of scripts, and the way behind its scenes. */
export interface Mock {
  readonly backend: BackendService
  /** The latest boot of a machine; waits until there is one. */
  readonly machine: (name: string) => Effect.Effect<MockMachine>
  /** How often each machine was started. */
  readonly starts: (name: string) => Effect.Effect<number>
}

/** Makes a backend of scripts. */
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
