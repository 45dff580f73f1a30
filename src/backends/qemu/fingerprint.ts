/** What two runs of QEMU must have in common so that one loads what the other saved. */
import * as Os from "node:os"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import { agentDigest } from "../../transport/Shell.ts"
import type { Findings } from "../Accelerator.ts"
import type { MachineShape } from "../Backend.ts"
import { hostCpu, program } from "../internal/hostFacts.ts"
import { command, emulatedCpu, socketsIn } from "./command.ts"

/** The format of what is saved; another number, and what was saved before is of no use. */
export const savedFormat = 2

/** A machine that has one of everything, so that its words are all that a command line can have. */
const example: MachineShape = {
  name: "",
  image: { digest: "", kernel: "kernel", initrd: "initrd", cmdline: "", root: "root", guest: "debian", builtAt: 0 },
  memory: 1024 ** 3,
  cpus: 1,
  disks: [{ path: "disk" }],
  devices: [
    { name: "stick", kind: { type: "usb-storage", size: 1024 ** 2 }, path: "stick" },
    ...(["usb-keyboard", "usb-mouse", "usb-tablet", "tpm", "watchdog", "sound"] as const).map((type) => ({
      name: type,
      kind: { type }
    }))
  ],
  networks: [{ device: "eth1", vlan: 1, mac: "", port: undefined }],
  internet: false,
  forwards: [],
  allowReboot: false,
  directory: "/"
}

/** Machines that are put together otherwise do not load each other's state. */
const hardware = (accelerator: Findings["accelerator"]["name"]): string => {
  const words = command({
    ...{
      shape: example,
      accelerator,
      sockets: socketsIn(example),
      memory: { _tag: "Anonymous" },
      incoming: false,
      extra: []
    }
  })
  return Digest.short(Digest.ofValue(words))
}

export const fingerprint = (
  { accelerator, qemu }: Findings,
  extraArguments: ReadonlyArray<string>
): Effect.Effect<Readonly<Record<string, string>>> =>
  Effect.gen(function* () {
    const kvm = accelerator.name === "kvm"
    return {
      hypervisor: `QEMU ${qemu.version}`,
      program: yield* program(qemu.path),
      accelerator: accelerator.name,
      cpu: kvm ? yield* hostCpu : emulatedCpu,
      ...(kvm ? { kernel: Os.release() } : {}),
      ...(extraArguments.length === 0 ? {} : { arguments: extraArguments.join(" ") }),
      hardware: hardware(accelerator.name),
      guest: agentDigest,
      format: `${savedFormat}`
    }
  })
