/** Python scripts on real guests: every name of the NixOS driver, and tests in the manner of those of nixpkgs. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { afterAll } from "vitest"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Failure from "../src/driver/Failure.ts"
import * as Runner from "../src/driver/Runner.ts"
import * as Image from "../src/images/Image.ts"
import type { MachineOptions } from "../src/machine/MachineSpec.ts"
import { python } from "../src/python/Python.ts"
import * as Surface from "../src/python/Surface.ts"

/** One image for all, so that all machines but the first of a name are forks. */
const debian: MachineOptions = {
  image: Image.debian({ packages: ["curl", "netcat-openbsd", "nginx-light"] }),
  memory: "512 MiB"
}

const tiny: MachineOptions = { image: Image.tiny(), memory: "256 MiB" }

const alone = { machine: debian }
const two = { server: debian, client: debian }

/** The machines of each script. */
const scripts: Readonly<Record<string, Readonly<Record<string, MachineOptions>>>> = {
  assertions: alone,
  conditions: alone,
  conformance: { machine: debian, client: debian },
  console: alone,
  files: alone,
  monitor: alone,
  network: two,
  power: alone,
  reboot: alone,
  retries: alone,
  shells: alone,
  sockets: alone,
  terminal: alone,
  threads: two,
  tiny: { "box-1": tiny, class: tiny },
  units: alone,
  web: two,
  windows: {
    desk: {
      image: Image.debian({
        packages: ["xvfb", "xauth", "xdotool", "x11-utils", "x11-apps", "xterm", "fonts-dejavu-core"]
      }),
      memory: "1 GiB"
    }
  }
}

const folder = import.meta.dirname
const output = mkdtempSync(join(tmpdir(), "vmtest-python-"))
afterAll(() => rmSync(output, { recursive: true, force: true }))

describe("the scripts", () => {
  it("are all run", () => {
    const files = readdirSync(join(folder, "python")).map((file) => file.replace(/\.py$/, ""))
    assert.sameMembers(files, Object.keys(scripts))
  })

  it("call every name that there is", () => {
    const text = readFileSync(join(folder, "python", "conformance.py"), "utf8")
    const missing = Object.entries(Surface.names).flatMap(([holder, names]) =>
      Object.entries(names).flatMap(([name, entry]: [string, Surface.Entry]) => {
        const isThere = typeof entry === "string" || "differs" in entry
        const use = new RegExp(holder === "script" ? `\\b${name}\\b` : `\\.${name}\\b|"${name}"`)
        return isThere && !use.test(text) ? [`${holder}.${name}`] : []
      })
    )
    assert.deepStrictEqual(missing, [])
  })
})

layer(DriverLayer.host, { excludeTestServices: true, timeout: 900_000 })("a Python script on real guests", (it) => {
  for (const [name, machines] of Object.entries(scripts)) {
    it.effect(`passes: ${name}.py`, () =>
      Effect.gen(function* () {
        const test = python(name, { machines, timeout: "20 minutes" }, { file: join(folder, "python", `${name}.py`) })
        const [result] = yield* Runner.run([test], { output })
        assert.strictEqual(result?.failure === undefined ? "" : Failure.render(result.failure), "")
      })
    )
  }
})
