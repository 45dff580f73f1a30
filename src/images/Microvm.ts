/**
 * Which hypervisor a runner of microvm.nix is for.
 *
 * **Example** (The hypervisor of a runner)
 *
 * ```ts
 * const name = Microvm.hypervisorOf(Image.microvm("result")) // "firecracker"
 * ```
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Disk from "../host/Disk.ts"
import type { MicrovmImage } from "./Image.ts"
import { hypervisorIn, programOf } from "./internal/microvm.ts"

/** The hypervisor that a runner starts, as microvm.nix calls it; `"qemu"` where that cannot be told, such as without a runner. */
export const hypervisorOf = ({ runner }: MicrovmImage): string => {
  const program = programOf(Path.resolve(runner))
  return hypervisorIn(program, Disk.readText(program) ?? "")
}
