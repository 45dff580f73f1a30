/** The hypervisors of this host that the suite runs inside the guest; QEMU is the guest's own. */
import { spawnSync } from "node:child_process"
import { accessSync, constants, statSync } from "node:fs"
import { delimiter, join, resolve } from "node:path"

export const backends = ["qemu", "firecracker", "cloud-hypervisor"] as const
export type BackendName = (typeof backends)[number]

/** The variable that names the program of a backend, or the jailer, and the program's name on the PATH. QEMU needs none. */
const sources = {
  firecracker: "VMTEST_FIRECRACKER",
  jailer: "VMTEST_JAILER",
  "cloud-hypervisor": "VMTEST_CLOUD_HYPERVISOR"
} as const

/** The programs that a suite can need. */
export type ProgramName = keyof typeof sources

/** The variable that names the program of a backend; undefined for QEMU. */
export const variableOf = (backend: BackendName): string | undefined =>
  backend === "qemu" ? undefined : sources[backend]

export type Program = { readonly path: string; readonly version: string } | { readonly missing: string }

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The program of a backend, or what to say where there is none. */
export const find = (name: ProgramName, env: Readonly<Record<string, string | undefined>> = process.env): Program => {
  const variable = sources[name]
  const asked = env[variable]
  const onPath = () =>
    (env.PATH ?? "")
      .split(delimiter)
      .map((folder) => join(folder, name))
      .find(isProgram)
  const path = asked === undefined || asked === "" ? onPath() : resolve(asked)
  if (path === undefined) return { missing: `${name} is not on the PATH, and ${variable} does not name it` }
  if (!isProgram(path)) return { missing: `${variable} names ${path}, which is not a program` }
  const { error, stderr, stdout } = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 10_000 })
  const version = /v?(\d+\.\d+(?:\.\d+)?)/.exec(stdout ?? "")?.[1]
  return version === undefined
    ? { missing: `${path} did not print its version: ${error?.message ?? (stderr ?? "").trim()}` }
    : { path, version }
}

/** The variables with which vmtest finds the programs that are in a folder of the guest. */
export const variables = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(sources).map(([name, variable]) => [variable, join(folder, name)]))
