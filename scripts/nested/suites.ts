/** What is run inside the guest: scripts of `integration-tests/nested`, each with the real command. */
import { places } from "./outer.ts"
import { type BackendName, backends } from "./programs.ts"

/** How many times longer than on hardware everything may take where the processor that virtualises is itself emulated. */
export const slowness = 10

export interface Suite {
  /** What it is called in the report. */
  readonly name: string
  /** The programs without which it is skipped. */
  readonly needs: ReadonlyArray<Exclude<BackendName, "qemu">>
  readonly command: string
}

const vmtest = `node ${places.payload}/app/node_modules/vmtest/bin/vmtest.js`

const script = (name: string, file: string, backend: BackendName, needs: Suite["needs"]): Suite => ({
  name,
  needs,
  command: `cd ${places.scratch}/out; VMTEST_NESTED_BACKEND=${backend} ${vmtest} run --no-snapshot --output ${places.scratch}/out --wait-timeout "5 minutes" ${places.payload}/app/suite/${file}.ts`
})

/** The suites of these backends, in the order in which they run. */
export const of = (wanted: ReadonlyArray<BackendName>): ReadonlyArray<Suite> =>
  wanted.map((backend) => script(backend, "backend", backend, backend === "qemu" ? [] : [backend]))

export const all = of(backends)
