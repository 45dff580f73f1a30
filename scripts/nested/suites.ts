/** What is run inside the guest: scripts of `integration-tests/nested`, each with the real command. */
import { places } from "./outer.ts"
import { type BackendName, backends, variableOf } from "./programs.ts"

/** How many times longer than on hardware everything may take where the processor that virtualises is itself emulated. */
export const slowness = 10

export interface Suite {
  /** What it is called in the report. */
  readonly name: string
  /** The programs without which it is skipped. */
  readonly needs: ReadonlyArray<Exclude<BackendName, "qemu">>
  readonly env: Readonly<Record<string, string>>
  readonly command: string
}

const vmtest = `node ${places.payload}/app/node_modules/vmtest/bin/vmtest.js`

/** The variables of a suite; the suites of hypervisors that are killed and refuse have `between.mjs` before the hypervisor. */
const variables = (backend: BackendName, between: boolean): Readonly<Record<string, string>> => {
  const variable = variableOf(backend)
  const own = { VMTEST_BACKEND: backend, VMTEST_NESTED_BACKEND: backend, VMTEST_TIME_SCALE: `${slowness}` }
  if (!between || variable === undefined) return own
  return {
    ...own,
    [variable]: `${places.payload}/app/suite/between.mjs`,
    VMTEST_NESTED_PROGRAM: `${places.payload}/bin/${backend}`
  }
}

const script = (
  name: string,
  file: string,
  backend: BackendName,
  { between = false, needs }: { readonly between?: boolean; readonly needs: Suite["needs"] }
): Suite => ({
  name,
  needs,
  env: variables(backend, between),
  command: `cd ${places.scratch}/out; ${vmtest} run --no-snapshot --output ${places.scratch}/out ${places.payload}/app/suite/${file}.ts`
})

/** The suites of these backends, in the order in which they run. */
export const of = (wanted: ReadonlyArray<BackendName>): ReadonlyArray<Suite> => [
  ...wanted.map((backend) => script(backend, "backend", backend, { needs: backend === "qemu" ? [] : [backend] })),
  ...wanted.map((backend) =>
    script(`${backend}, killed`, "cleanup", backend, { needs: backend === "qemu" ? [] : [backend] })
  ),
  ...wanted.flatMap((backend) =>
    backend === "qemu" ? [] : [script(`${backend}, faults`, "faults", backend, { between: true, needs: [backend] })]
  ),
  ...(wanted.length < backends.length
    ? []
    : [script("all three on one bridge", "mixed", "qemu", { needs: ["firecracker", "cloud-hypervisor"] })])
]
