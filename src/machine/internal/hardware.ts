/** What the declared hardware of a machine cannot be: arguments that are vmtest's own, and devices that do not go together. */

import * as Device from "../../backends/Device.ts"
import * as Limits from "../../backends/Limits.ts"
import type { MachineSpec } from "../MachineSpec.ts"

/** Options of QEMU that vmtest gives itself, and what to use instead. */
const ownArguments: Readonly<Record<string, string>> = {
  ...{ m: "memory", smp: "cpus", kernel: "image", initrd: "image", append: "the image's kernelParameters" },
  ...{ incoming: "fork", loadvm: "fork", S: "pause", preconfig: "pause", name: "the machine's name" },
  ...{ daemonize: "", snapshot: "", serial: "console", h: "", help: "", version: "" },
  ...{ "no-reboot": "allowReboot", "no-shutdown": "", action: "allowReboot, or the action of a watchdog," },
  ...{ display: "screenshot", nographic: "console", machine: "", M: "", cpu: "" },
  ...{ accel: "VMTEST_ACCEL", "enable-kvm": "VMTEST_ACCEL" }
}

/** What is wrong with the first argument that would take a machine out of vmtest's hands. */
export function refusedArgument(words: ReadonlyArray<string>): string | undefined {
  const refused = words.find((word) => Object.hasOwn(ownArguments, word.replace(/^--?/, "")) && word.startsWith("-"))
  if (refused === undefined) return undefined
  const instead = ownArguments[refused.replace(/^--?/, "")] ?? ""
  return `must not have ${refused}, which vmtest decides${instead === "" ? "" : `; use ${instead} instead`}`
}

/** The field of a declaration, and a sentence that names it. */
export type Refusal = readonly [option: string, reason: string]

/** What of its disks, cards and devices a machine cannot have together. */
export const crowd = ({ devices, disks, hotplug, image, vlans }: MachineSpec): Refusal | undefined => {
  const all = Device.nameAll(devices)
  const ports = hotplug || all.length > 0 ? 1 : 0
  const slots = all.reduce((sum, { kind }) => sum + Device.slotsOf(kind), ports)
  // A start script plugs in what it wants of the networks that it is offered.
  const cards = image._tag === "StartScriptImage" ? 0 : vlans.length
  if (cards + disks.length + slots > Limits.mostDevices) {
    const largest = slots > Math.max(vlans.length, disks.length) && all.length > 0 ? "devices" : "disks"
    const forPorts = ports === 0 ? "" : ` (${ports} of them for USB and what is plugged in)`
    const got = `${vlans.length}, ${disks.length} and ${slots}${forPorts}`
    return [largest, `vlans, disks and devices must be at most ${Limits.mostDevices} together, got ${got}`]
  }
  const onUsb = all.filter(({ kind }) => Device.isUsb(kind)).length
  if (onUsb > Limits.mostUsb) {
    return ["devices", `devices must have at most ${Limits.mostUsb} on USB, got ${onUsb}`]
  }
  for (const [index, { kind, name }] of all.entries()) {
    const before = all.slice(0, index)
    const type = Device.typeOf(kind)
    if (before.some((other) => other.name === name)) {
      return [
        "devices",
        `devices[${index}].name must differ from those of the other devices, got ${JSON.stringify(name)}`
      ]
    }
    // Where a kernel is started without a boot loader of its own, QEMU puts the end of the initramfs over ACPI's tables, which a TPM makes longer.
    if (type === "tpm" && (image._tag === "TinyImage" || image._tag === "DebianImage") && image.kernel !== "generic") {
      return [
        "devices",
        `devices[${index}] must have an image with kernel: "generic", got a TPM and the default kernel`
      ]
    }
    if (["tpm", "watchdog"].includes(type) && before.some((other) => Device.typeOf(other.kind) === type)) {
      return ["devices", `devices must have at most one ${type}, got another in devices[${index}]`]
    }
  }
  return undefined
}
