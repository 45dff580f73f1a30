/** What a driver is made of. */
import type * as Effect from "effect/Effect"
import type * as PollingCondition from "../../guest/PollingCondition.ts"
import type { Location } from "../../host/Location.ts"
import type { BootImage } from "../../images/BootImage.ts"
import type { Image } from "../../images/Image.ts"
import type { MachineSpec } from "../../machine/MachineSpec.ts"
import type * as Origin from "../../machine/Origin.ts"
import type { AddressedNode } from "../../network/Addresses.ts"
import type { NetworkSpec } from "../../network/NetworkSpec.ts"
import type { ImageUnavailable } from "../ImageUnavailable.ts"
import type { SubtestResult } from "../TestResult.ts"
import type { Former } from "./hostServices.ts"
import type { Saved } from "./saveAll.ts"
import type { WarmStart } from "./warmStart.ts"

export interface Options {
  readonly test: string
  readonly machines: ReadonlyArray<MachineSpec>
  /** The networks that the test declares; undefined if it declares none, so that every VLAN is there. */
  readonly networks?: ReadonlyArray<NetworkSpec> | undefined
  /** Tells the test's folders apart from those of other tests of the run. */
  readonly prefix: string
  readonly output: string
  /** Whether the packets of each network go to a file in `output`. Default false. */
  readonly capture?: boolean | undefined
  /** Tells the files of a fork apart from those of the test: `-fork1`. Undefined for the test itself. */
  readonly fork?: string | undefined
  /** Hears of each subtest's end; `failsLater` says whether the test counts its failure at its own end. */
  readonly onSubtest: (result: SubtestResult, failsLater: boolean) => void
  /** Why subtests are interrupted, once that is known. */
  readonly interruptedBy?: (() => unknown) | undefined
  /** The place of failures that have none in the script. */
  readonly declaredAt?: () => Location | undefined
  /** Keeps the time of an effect off the test's clock. Default: nothing measures it. */
  readonly untimed?: (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) | undefined
  readonly resolve: (image: Image) => Effect.Effect<BootImage, ImageUnavailable>
  readonly warm: WarmStart
  /** The digest of the script that declares the machines, if there is one. */
  readonly script?: string | undefined
  /** What declares its machines, where that is not the test itself. */
  readonly declaredIn?: { readonly others: string; readonly machines: ReadonlyMap<string, string> } | undefined
  /** The names that services of the host had when the machines were saved: those that are served again have the same addresses. */
  readonly hosts?: ReadonlyArray<Former> | undefined
  /** Machines that resume from where they were saved, under the numbers that they had; all others start as they were declared. */
  readonly saved?: SavedMachines | undefined
  /** Of the test that these machines are forks of. */
  readonly conditions?: PollingCondition.PollingConditions | undefined
}

interface SavedMachines {
  readonly machines: Saved
  /** In the order of the machines that are declared. */
  readonly nodes: ReadonlyArray<AddressedNode>
  /** Who they are when they resume. Default: what they are declared to be. */
  readonly identity?: Origin.Origin["identity"]
}

/** What declares a machine, where nothing says otherwise. */
export const declaredHere = ({ declaredIn, test }: Options): string => declaredIn?.others ?? `the test ${test}`

export const declaredIn = (options: Options, { name }: MachineSpec): string =>
  options.declaredIn?.machines.get(name) ?? declaredHere(options)
