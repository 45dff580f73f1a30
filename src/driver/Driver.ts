/**
 * The driver of one test: its machines, and operations on all of them.
 *
 * A driver is a supervision tree (networks, machines, the script); closing its scope leaves no process, no socket and no file outside the
 * output folder.
 *
 * **Example** (A machine that is made while the test runs)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Driver, Image } from "vmtest"
 *
 * export default Effect.gen(function* () {
 *   const driver = yield* Driver
 *   const web = yield* driver.machine("web", { image: Image.tiny() })
 *   yield* driver.subtest("it answers", web.succeed("echo hello"))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Unsupported } from "../backends/BackendError.ts"
import type { BackendUnavailable } from "../backends/Backends.ts"
import * as Arguments from "../guest/Arguments.ts"
import { type PollingConditionFailed, PollingConditionOptions } from "../guest/PollingCondition.ts"
import { WaitOptions } from "../guest/Timeout.ts"
import * as Fields from "../host/Fields.ts"
import type { ToolMissing } from "../host/HostProcess.ts"
import type { CutShort, DeadlineError, Machine, Unavailable } from "../machine/Machine.ts"
import type { InvalidMachine, MachineOptions } from "../machine/MachineSpec.ts"
import type { InvalidAddresses } from "../network/Addresses.ts"
import type { VlanFailed } from "../network/Vlan.ts"
import type { ForkFailed } from "./ForkFailed.ts"
import { Options as HostServiceOptions, type Serve } from "./HostService.ts"
import type { ImageUnavailable } from "./ImageUnavailable.ts"
import { type Network, Reference } from "./Network.ts"
import type { StateUnusable } from "./StatePlaces.ts"

/** Options of a subtest. */
export const SubtestOptions = Fields.options(
  {
    /** Whether the test continues after the subtest failed, and fails at its end. Default false. */
    softFail: Schema.optional(Schema.Boolean)
  },
  "{ softFail: true }"
)

/** Options of a subtest. */
export interface SubtestOptions extends Schema.Schema.Type<typeof SubtestOptions> {}

/** Why a machine could not be made while the test runs: its declaration, its hypervisor, its image, no address left, or no `vde_switch` for its VLANs. */
export type DeclareError =
  | InvalidMachine
  | BackendUnavailable
  | ImageUnavailable
  | InvalidAddresses
  | ToolMissing
  | StateUnusable

/** Why an effect could not be run on forks: the backend does not support snapshots, or a machine could not be saved, or a fork or its network did not start. */
export type ForkError = Unsupported | ForkFailed | Unavailable | VlanFailed

/** The operations of a driver. `Names` are the names of the machines that the test declares. */
export interface DriverService<Names extends string = string> {
  /** The machines by name, those made by `machine` included. */
  readonly machines: Readonly<Record<string, Machine>>
  /**
   * Makes a machine while the test runs.
   *
   * It starts at once, unless `autoStart` is false, and its first use waits until it is ready. It has the next free node number, and the
   * addresses that follow from it, or that its declaration gives its cards; the other machines learn its name.
   */
  readonly machine: (name: string, options: MachineOptions) => Effect.Effect<Machine, DeclareError>
  /** Starts all machines together and waits until they are ready. Forks of single machines are left as they are. */
  readonly startAll: () => Effect.Effect<void, CutShort>
  /** Waits until all machines have ended. */
  readonly joinAll: (options?: WaitOptions) => Effect.Effect<void, PollingConditionFailed | DeadlineError>
  /**
   * Runs a part of the test under a name of its own, which the report shows with its result.
   *
   * Fails as the Effect does, which fails the test unless the script handles it. With `softFail` it gives `undefined` instead, and the test
   * continues, and fails at its end.
   */
  readonly subtest: {
    <A, E, R>(name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
    <A, E, R>(
      name: string,
      effect: Effect.Effect<A, E, R>,
      options: { readonly softFail: true }
    ): Effect.Effect<A | undefined, never, R>
    <A, E, R>(name: string, effect: Effect.Effect<A, E, R>, options: SubtestOptions): Effect.Effect<A | undefined, E, R>
  }
  /**
   * A condition that must hold whenever the test waits or runs a command, until the scope closes: at the end of the test, or of the part of it
   * in `Effect.scoped`. It does not hold if its check fails or gives `false`; the current wait of the test, or its next one, fails with
   * `PollingConditionFailed` then.
   *
   * ```ts
   * yield* Effect.scoped(
   *   Effect.gen(function* () {
   *     yield* driver.pollingCondition("nginx runs", web.succeed("systemctl is-active nginx"))
   *     yield* client.waitUntilSucceeds("curl -f http://web/")
   *   })
   * )
   * yield* web.shutdown()
   * ```
   */
  readonly pollingCondition: <E, R>(
    condition: string,
    check: Effect.Effect<unknown, E, R>,
    options?: PollingConditionOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** Waits on several machines at once, and gives the results in their order. Fails with the first failure. */
  readonly waitAll: <A, E, R>(
    machines: Iterable<Machine> | Readonly<Record<string, Machine>>,
    wait: (machine: Machine) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Array<A>, E, R>
  /**
   * Runs an effect on forks of all machines as they are now, on networks of their own, gives its result, and discards the forks.
   *
   * All running machines are saved at one point in time, which stops them for about a second; machines that boot are waited for, and machines
   * that do not run do not run in the fork either. The forks have the names and addresses of their originals, and cannot reach the networks of
   * these. Several forks can run at once. Nothing that happens in a fork affects the originals or other forks.
   */
  readonly fork: <A, E, R>(
    body: (machines: Readonly<Record<Names, Machine>>, driver: DriverService) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>>
  /** A network of the test, by its number, or by the name that the test's `networks` give it. */
  readonly network: (network: number | string) => Network
  /**
   * Serves a port of a host of its own on a network, until the scope closes: guests reach an HTTP or TCP server of the test by its name, as if it were
   * one more machine. It is subject to partitions and impairments, and seen by captures. In a fork of the test, services that run are served as well.
   *
   * ```ts
   * yield* driver.hostService({ name: "api", port: 80, handler: Effect.succeed(HttpServerResponse.text("hello")) })
   * yield* client.succeed("curl -f http://api/")
   * ```
   */
  readonly hostService: Serve
  /** Writes a line to the report. */
  readonly log: (line: string) => Effect.Effect<void>
}

/** What its methods take; the Effects and functions that a script gives are looked at when they are run, and machines by `MachineSpec`. */
export const parameters = Arguments.of<DriverService>({
  machine: Arguments.takes({}),
  startAll: Arguments.takes({}),
  joinAll: Arguments.takes({ options: Schema.optional(WaitOptions) }),
  subtest: Arguments.takes(
    { name: Fields.title, effect: Schema.Unknown, options: Schema.optional(SubtestOptions) },
    { gives: "defects" }
  ),
  pollingCondition: Arguments.takes(
    { condition: Fields.title, check: Schema.Unknown, options: Schema.optional(PollingConditionOptions) },
    { gives: "defects" }
  ),
  waitAll: Arguments.takes({}),
  fork: Arguments.takes({}),
  network: Arguments.takes({ network: Reference }, { gives: "methods" }),
  hostService: Arguments.takes({ options: HostServiceOptions }),
  log: Arguments.takes({ line: Schema.String }, { gives: "defects" })
})

/** The driver of the test that is running. */
export class Driver extends Context.Service<Driver, DriverService>()("vmtest/driver/Driver") {}
