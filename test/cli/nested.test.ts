/** What `npm run test:nested` and `npm run bench:backends` are made of, apart from the guest. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Figures from "../../scripts/nested/figures.ts"
import { installed } from "../../scripts/nested/payload.ts"
import * as Programs from "../../scripts/nested/programs.ts"
import * as Suites from "../../scripts/nested/suites.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-nested-test-"))
afterAll(() => Fs.rmSync(folder, { recursive: true }))

const program = (name: string, said: string): string => {
  const path = Path.join(folder, name)
  Fs.writeFileSync(path, `#!/bin/sh\necho "${said}"\n`, { mode: 0o755 })
  return path
}

describe("the nested run", () => {
  it("finds hypervisors by their variables, else on the PATH, and names one that is missing", () => {
    const path = program("firecracker", "Firecracker v1.16.1")
    const found = { path, version: "1.16.1" }
    assert.deepStrictEqual(Programs.find("firecracker", { VMTEST_FIRECRACKER: path }), found)
    assert.deepStrictEqual(Programs.find("firecracker", { PATH: `/nowhere:${folder}` }), found)
    const missing = { missing: "cloud-hypervisor is not on the PATH, and VMTEST_CLOUD_HYPERVISOR does not name it" }
    assert.deepStrictEqual(Programs.find("cloud-hypervisor", { PATH: folder }), missing)
    const wrong = { missing: "VMTEST_CLOUD_HYPERVISOR names /nowhere/ch, which is not a program" }
    assert.deepStrictEqual(Programs.find("cloud-hypervisor", { VMTEST_CLOUD_HYPERVISOR: "/nowhere/ch" }), wrong)
  })

  it("gives the guest what an installation of vmtest has", () => {
    const packages: Readonly<Record<string, object>> = {
      effect: { dependencies: { deep: "1" } },
      esbuild: { optionalDependencies: { here: "1", elsewhere: "1" } },
      ...{ deep: {}, here: {}, vitest: {} }
    }
    const itself = {
      dependencies: { esbuild: "1" },
      peerDependencies: { effect: "1", vitest: "1" },
      peerDependenciesMeta: { vitest: { optional: true } }
    }
    assert.deepStrictEqual(
      installed((name) => packages[name], itself),
      ["deep", "effect", "esbuild", "here"]
    )
  })

  it("runs each backend's suites by its own program, and says which programs each needs", () => {
    const place = { vmtest: "/v", scripts: "/s", output: "/o", programs: { firecracker: "/fc" }, slowness: 10 }
    const [first, options, faults, jailer] = Suites.of(["firecracker"], place)
    assert.deepStrictEqual(
      [first, options, faults, jailer].map((suite) => suite?.needs),
      [["firecracker"], ["firecracker"], ["firecracker"], ["firecracker", "jailer"]]
    )
    assert.deepInclude(faults?.env, { VMTEST_FIRECRACKER: "/s/between.mjs", VMTEST_NESTED_PROGRAM: "/fc" })
    assert.notProperty(first?.env, "VMTEST_FIRECRACKER")
    assert.strictEqual(Suites.of(Programs.backends, place).at(-1)?.needs.length, 2)
  })

  it("puts figures side by side, and tells where vmtest takes more than its share", () => {
    const line = (backend: string, what: string, value: number, share?: number) =>
      `figure ${JSON.stringify({ backend, what, value, unit: share === undefined ? "MB" : "ms", share })}`
    const text = [line("qemu", "snapshot", 1234, 0.01), "✔ figures", line("qemu", "memory", 30.4)]
    const figures = Figures.parse([...text, line("firecracker", "snapshot", 70, 0.2)].join("\n"))
    assert.deepStrictEqual(Figures.table(figures).split("\n"), [
      "|  | qemu | firecracker |",
      "| --- | --- | --- |",
      "| snapshot | 1.2 s (1.0 %) | 70 ms (20.0 %) |",
      "| memory | 30 MB | – |"
    ])
    assert.deepStrictEqual(Figures.tooMuch(figures), ["firecracker, snapshot: 20.0 %"])
  })
})
