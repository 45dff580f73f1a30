/**
 * The driver of one test: its machines, and what concerns them together.
 *
 * A driver is a supervision tree (networks, machines, the script); closing its scope leaves no process, no socket and no file outside the
 * output folder.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Unsupported } from "../backends/BackendError.ts"
import type { InvalidInterval, PollingConditionFailed, PollingConditionOptions } from "../guest/PollingCondition.ts"
import type { ToolMissing } from "../host/HostProcess.ts"
import type { CutShort, DeadlineError, Machine, Unavailable, WaitOptions } from "../machine/Machine.ts"
import type { InvalidMachine, MachineOptions } from "../machine/MachineSpec.ts"
import type { AddressesExhausted } from "../network/Addresses.ts"
import type { VlanFailed } from "../network/Vlan.ts"
import type { ForkFailed } from "./ForkFailed.ts"
import type { ImageUnavailable } from "./ImageUnavailable.ts"

/** How a subtest counts. */
export interface SubtestOptions {
  /** Whether the test goes on after its failure, and fails at its end. Default false. */
  readonly softFail?: boolean
}

/** Why a machine cannot be made while the test runs: its declaration, its image, no address left, or no `vde_switch` for its VLANs. */
export type DeclareError = InvalidMachine | ImageUnavailable | AddressesExhausted | ToolMissing

/** Why an effect cannot be run on forks: the backend has no snapshots, a machine cannot be saved, a fork or its network does not come up. */
export type ForkError = Unsupported | ForkFailed | Unavailable | VlanFailed

/** What a test can ask of its driver. `Names` are those of the machines that the test declares. */
export interface DriverService<Names extends string = string> {
  /** The machines by name, those made by `machine` included. */
  readonly machines: Readonly<Record<string, Machine>>
  /**
   * Makes a machine while the test runs.
   *
   * It starts at once, unless `autoStart` is false, and the first use waits until it is ready. Its node number, and so its addresses, are the
   * next free ones; the machines that run already learn its name.
   */
  readonly machine: (name: string, options: MachineOptions) => Effect.Effect<Machine, DeclareError>
  /** Starts all machines together and waits until they are ready; forks that keep to themselves, which have run from their beginning, are left alone. */
  readonly startAll: () => Effect.Effect<void, CutShort>
  /** Waits until all machines have ended. */
  readonly joinAll: (options?: WaitOptions) => Effect.Effect<void, PollingConditionFailed | DeadlineError>
  /**
   * Runs a part of the test under a name of its own, which the report shows with how it went.
   *
   * Its failure is the Effect's, and so fails the test unless the script handles it; with `softFail` the test goes on, gets `undefined`, and fails at its end.
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
   * A condition that must hold whenever the test waits or runs a command, from now until the scope closes: at the test's end, or at the end of
   * the part of it that `Effect.scoped` is around. It does not hold when its check fails or gives `false`; whatever the test is waiting for then,
   * or waits for next, fails with `PollingConditionFailed`.
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
  ) => Effect.Effect<void, InvalidInterval, R | Scope.Scope>
  /** Waits on several machines at once, and gives what came of each, in their order: the first failure is the whole's. */
  readonly waitAll: <A, E, R>(
    machines: Iterable<Machine> | Readonly<Record<string, Machine>>,
    wait: (machine: Machine) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Array<A>, E, R>
  /**
   * Runs an effect on forks of all the machines as they are now, with networks of their own, gives its result, and throws the forks away.
   *
   * All machines that run are saved at one point in time, and stand still for about a second meanwhile; those that boot are waited for, those
   * that do not run do not run in the fork either. The forks have the names and addresses of their originals, whose networks they cannot reach.
   * Several forks may run at once. What happens in a fork happens nowhere else: subtests on forks cannot spoil each other.
   */
  readonly fork: <A, E, R>(
    body: (machines: Readonly<Record<Names, Machine>>, driver: DriverService) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>>
  /** Writes a line to the report. */
  readonly log: (line: string) => Effect.Effect<void>
}

/** The driver of the test that is running. */
export class Driver extends Context.Service<Driver, DriverService>()("vmtest/driver/Driver") {}
