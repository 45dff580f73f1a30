/** What the scripts in this folder know of where they run: inside a guest that has KVM, as `npm run test:nested` starts them. */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"

/** The backend that the script was started for. */
export const backend = process.env.VMTEST_NESTED_BACKEND ?? "qemu"

/** A guest of Firecracker that reboots ends its machine. */
export const keepsReboots = backend !== "firecracker"

const programs: Readonly<Record<string, string>> = {
  qemu: "qemu-system-x86_64",
  firecracker: "firecracker",
  "cloud-hypervisor": "cloud-hypervisor"
}

export interface Process {
  readonly pid: number
  readonly words: ReadonlyArray<string>
  readonly folder: string
  readonly environment: ReadonlyArray<string>
}

/** All processes that live, as far as they can be seen. */
export const processes = (): ReadonlyArray<Process> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "latin1")
        if (stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z")) return []
        const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").slice(0, -1)
        const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0")
        return [{ pid: Number(name), words, folder: readlinkSync(`/proc/${name}/cwd`), environment }]
      } catch {
        return []
      }
    })

/** The processes of hypervisors. Programs that start one, such as `unshare`, have ended by then or become it. */
export const hypervisors = (of = backend): ReadonlyArray<Process> =>
  processes().filter(({ words: [program = ""] }) => program.endsWith(`/${programs[of]}`) || program === programs[of])

/** The network namespaces that processes are in, each with one of these. */
const inhabited = (): ReadonlyMap<string, number> =>
  new Map(
    processes().flatMap(({ pid }) => {
      try {
        return [[readlinkSync(`/proc/${pid}/ns/net`), pid] as const]
      } catch {
        return []
      }
    })
  )

/** The network namespaces that processes are in. */
export const namespaces = (): ReadonlySet<string> => new Set(inhabited().keys())

/** The TAP devices in all namespaces that hypervisors have made for themselves: each is one machine's eth0. */
export const ownTaps = (): ReadonlyArray<string> =>
  [...inhabited().values()].flatMap((pid) => {
    const { stdout } = spawnSync("nsenter", [`--target=${pid}`, "--net", "ip", "-o", "link"], { encoding: "utf8" })
    return (stdout ?? "").match(/(?<=^\d+: )vt[0-9a-f]{10}0(?=:)/gm) ?? []
  })
