/** What is run inside the guest: scripts of `integration-tests/nested`, each with the real command. */
import { type BackendName, backends, type ProgramName, variableOf } from "./programs.ts"

/** Where suites run: inside the guest, or on a host that has KVM. */
export interface Place {
  /** The folder of the command, and that of the scripts. */
  readonly vmtest: string
  readonly scripts: string
  /** A folder for what suites write. */
  readonly output: string
  /** The programs of hypervisors by the names of their backends. */
  readonly programs: Readonly<Record<string, string>>
  /** How many times longer than on hardware everything may take. */
  readonly slowness: number
}

export interface Suite {
  /** What it is called in the report. */
  readonly name: string
  /** The programs without which it is skipped. */
  readonly needs: ReadonlyArray<ProgramName>
  readonly env: Readonly<Record<string, string>>
  readonly command: string
}

/** The variables of a suite; the suites of hypervisors that are killed and refuse have `between.mjs` before the hypervisor. */
const variables = ({ programs, scripts, slowness }: Place, backend: BackendName, between: boolean) => {
  const variable = variableOf(backend)
  const program = programs[backend]
  return {
    ...{ VMTEST_BACKEND: backend, VMTEST_NESTED_BACKEND: backend, VMTEST_TIME_SCALE: `${slowness}` },
    ...(between && variable !== undefined && program !== undefined
      ? { [variable]: `${scripts}/between.mjs`, VMTEST_NESTED_PROGRAM: program }
      : {})
  }
}

interface Script {
  readonly name: string
  readonly files: ReadonlyArray<string>
  readonly backend: BackendName
  /** Whether `between.mjs` is before the hypervisor. */
  readonly between?: boolean
  readonly needs?: Suite["needs"]
}

/**
 * One command for several scripts: it takes half a minute to load where the processor is emulated. There, guests of every hypervisor reset themselves now
 * and then, some before their first line; so a test may be tried twice, and the report calls it flaky then.
 */
const script =
  (place: Place) =>
  ({ backend, between = false, files, name, needs = backend === "qemu" ? [] : [backend] }: Script): Suite => ({
    ...{ name, needs, env: variables(place, backend, between) },
    command: [
      `cd ${place.output};`,
      `node ${place.vmtest}/bin/vmtest.js run --jobs 1 --no-snapshot --retries ${place.slowness > 1 ? 1 : 0} --output ${place.output}`,
      ...files.map((file) => `${place.scripts}/${file}.ts`)
    ].join(" ")
  })

/** What is measured instead of tested. */
export const benches = (wanted: ReadonlyArray<BackendName>, place: Place): ReadonlyArray<Suite> =>
  wanted.map((backend) => script(place)({ name: backend, files: ["figures"], backend }))

/** Where the processor is emulated, vmtest is so as well: this tells what QEMU and vmtest take on the host itself. */
export const benchOutside = (place: Place): Suite => {
  const suite = script(place)({ name: "qemu, on this host", files: ["figures"], backend: "qemu" })
  return { ...suite, env: { ...suite.env, VMTEST_NESTED_COLUMN: suite.name } }
}

/** The suites of these backends, in the order in which they run. */
export const of = (wanted: ReadonlyArray<BackendName>, place: Place): ReadonlyArray<Suite> =>
  [
    ...wanted.flatMap(
      (backend): ReadonlyArray<Script> => [
        { name: backend, files: ["backend", "cleanup"], backend },
        ...(backend === "qemu"
          ? []
          : [{ name: `${backend}, options and display`, files: ["options", "display"], backend }]),
        ...(backend === "qemu" ? [] : [{ name: `${backend}, faults`, files: ["faults"], backend, between: true }]),
        ...(backend === "firecracker"
          ? [{ name: "firecracker, jailer", files: ["jailed"], backend, needs: ["firecracker", "jailer"] as const }]
          : [])
      ]
    ),
    ...(wanted.length < backends.length
      ? []
      : [
          {
            ...{ name: "one of each on one bridge", files: ["mixed"], backend: "qemu" as const },
            needs: ["firecracker", "cloud-hypervisor"] as const
          }
        ])
  ].map(script(place))
