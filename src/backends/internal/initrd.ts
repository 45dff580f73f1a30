/** The initramfs that a machine boots with: its image's, with what makes the guest this machine. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Disk from "../../host/Disk.ts"
import { identityPath } from "../../images/BootImage.ts"
import * as Cpio from "../../images/Cpio.ts"
import type { MachineShape } from "../Backend.ts"

/** The image's initramfs with what makes the guest this machine, in the machine's folder; undefined where there is nothing to add. */
export const initrdIn = ({ directory, identity, image }: MachineShape): string | undefined =>
  identity === undefined || image.initrd === "" ? undefined : `${directory}/initrd`

/** Writes the initramfs with the machine's identity. Fails with the reason. */
export const prepareInitrd = (shape: MachineShape): Effect.Effect<void, string> => {
  const { identity } = shape
  const path = initrdIn(shape)
  if (path === undefined || identity === undefined) return Effect.void
  const script = { path: identityPath, type: "file", mode: 0o644, data: Buffer.from(identity) } as const
  return Effect.try({
    try: () => Fs.writeFileSync(path, Cpio.append(Fs.readFileSync(shape.image.initrd), [script]), { mode: 0o600 }),
    catch: (error) => `could not write its initramfs: ${Disk.reasonOf(error)}`
  })
}
