/** Options of `vmtest run`: the machines that scripts do not declare themselves, and what runs them. */
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"

export interface Machines {
  /** The module that declares the machines of Python scripts. */
  readonly machines: string | undefined
  /** The file in JSON that describes machines of all scripts. */
  readonly machineConfig: string | undefined
}

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
  )
}
