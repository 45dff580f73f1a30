/** Options of `vmtest run`: the machines that scripts do not declare themselves, and what runs them. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as Flags from "./flags.ts"

export interface Machines {
  /** The module that declares the machines of Python scripts. */
  readonly machines: string | undefined
  /** The file in JSON that describes machines of all scripts. */
  readonly machineConfig: string | undefined
  /** Instead of the variable `VMTEST_ACCEL`, and of trying which works. */
  readonly accel: Accel | undefined
}

export type Accel = "auto" | "kvm" | "tcg"

export const flags = {
  machines: Flags.undefinedOr(
    Flag.String("machines").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "The machines of Python scripts: a module whose default export is an object of names and declarations"
      )
    )
  ),
  machineConfig: Flags.undefinedOr(
    Flag.String("machine-config").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "Machines of all scripts, besides those that they declare: a file in JSON that names start scripts, or runners of microvm.nix"
      )
    )
  ),
  accel: Flags.undefinedOr(
    Flag.String("accel").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        "What guests run on: kvm, tcg (emulation), or auto, which tries (default: VMTEST_ACCEL, or auto)"
      ),
      Flag.filterMap(
        (text) => Option.fromUndefinedOr((["auto", "kvm", "tcg"] as const).find((name) => name === text)),
        () => "auto, kvm or tcg"
      )
    )
  )
}
