/** Python scripts on real guests: every name of the NixOS driver, and tests in the manner of those of nixpkgs. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { afterAll } from "vitest"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Failure from "../src/driver/Failure.ts"
import * as Runner from "../src/driver/Runner.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import type { MachineOptions } from "../src/machine/MachineSpec.ts"
import { python } from "../src/python/Python.ts"
import * as Surface from "../src/python/Surface.ts"
import { image, scripts as startScripts } from "./nixosScript.ts"

/** One image for all, so that all machines but the first of a name are forks. */
const debian: MachineOptions = {
  image: Image.debian({ packages: ["curl", "netcat-openbsd", "nginx-light"] }),
  memory: "512 MiB"
}

const tiny: MachineOptions = { image: Image.tiny(), memory: "256 MiB" }

const alone = { machine: debian }
const two = { server: debian, client: debian }

/** Guests of start scripts have their names and addresses from their own system: here those that nixpkgs would give them. */
const scripted = image({
  packages: ["curl", "iputils-ping", "netcat-openbsd", "nginx-light"],
  files: {
    "/etc/hosts": `127.0.0.1 localhost
192.168.1.1 client machine
192.168.1.2 server
2001:db8:1::1 client machine
2001:db8:1::2 server
`
  }
})

/** With a driver for the display, as guests of NixOS have it. */
const graphical = image({ kernel: "generic" })

/** The machines of scripts that use what only machines of start scripts have. */
const ofStartScripts: Readonly<Record<string, ReadonlyArray<string>>> = {
  create: ["machine"],
  environment: ["machine"],
  ocr: ["machine"]
}

/** The machines of each other script. */
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
    assert.sameMembers(files, [...Object.keys(scripts), ...Object.keys(ofStartScripts)])
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

const passes = Effect.fnUntraced(function* (name: string, machines: Readonly<Record<string, MachineOptions>>) {
  const test = python(name, { machines, timeout: "20 minutes" }, { file: join(folder, "python", `${name}.py`) })
  const [result] = yield* Runner.run([test], { output })
  assert.strictEqual(result?.failure === undefined ? "" : Failure.render(result.failure), "")
})

layer(DriverLayer.host, { excludeTestServices: true, timeout: 900_000 })("a Python script on real guests", (it) => {
  for (const [name, machines] of Object.entries(scripts)) {
    it.effect(`passes: ${name}.py`, () => passes(name, machines))
  }
})

/** A script that fails on a real guest: its failure as it is printed. */
const failureOf = Effect.fnUntraced(function* (script: string) {
  const [result] = yield* Runner.run([python("a failure", { machines: alone, timeout: "20 minutes" }, script)], {
    output
  })
  return result?.failure === undefined ? "" : Failure.render(result.failure)
})

layer(DriverLayer.host, { excludeTestServices: true, timeout: 900_000 })("a Python script that fails", (it) => {
  it.effect("because of a unit shows its line, the lines that called it, and the unit's journal", () =>
    Effect.gen(function* () {
      const said = yield* failureOf(`
        def broken():
            machine.wait_for_unit("broken.service")

        unit = "[Service]\\nExecStart=sh -c 'echo the disk is on fire; exit 3'\\n"
        machine.succeed(f'printf "{unit}" >/run/systemd/system/broken.service && systemctl daemon-reload')
        machine.execute("systemctl start --wait broken.service")
        broken()
      `)
      assert.match(said, /UnitFailed/)
      assert.match(said, /> *\d+ \|.*machine\.wait_for_unit\("broken\.service"\)/)
      assert.match(said, /called at \S+:\d+:\d+ {2}broken\(\)/)
      assert.match(said, /journal:?\n[\s\S]*the disk is on fire/)
    })
  )

  it.effect("because of a wait shows its line, and what the console said last", () =>
    Effect.gen(function* () {
      const said = yield* failureOf(`
        machine.succeed("echo the console has the last word >/dev/ttyS0")
        machine.wait_for_console_text("the last word")
        machine.wait_for_file("/never", timeout=2)
      `)
      assert.match(said, /WaitTimeout/)
      assert.match(said, /> *\d+ \|.*machine\.wait_for_file\("\/never", timeout=2\)/)
      assert.match(said, /console[^\n]*:?\n[\s\S]*the console has the last word/)
    })
  )
})

/** Scripts that need another image, or that look at what only a declaration has. */
const declared = ["assertions", "conformance", "tiny", "windows"]

/** As nixpkgs numbers them. */
const addresses: Readonly<Record<string, string>> = {
  machine: "192.168.1.1",
  client: "192.168.1.1",
  server: "192.168.1.2"
}

const host = Layer.provideMerge(ImageStore.layer, DriverLayer.host)

layer(host, { excludeTestServices: true, timeout: 900_000 })("a Python script on guests of start scripts", (it) => {
  const all = Object.entries(scripts).map(([name, machines]) => [name, Object.keys(machines)] as const)
  const wanted = [...all.filter(([name]) => !declared.includes(name)), ...Object.entries(ofStartScripts)]
  for (const [name, machines] of wanted) {
    it.effect(`passes: ${name}.py`, () =>
      Effect.gen(function* () {
        const { make } = yield* startScripts
        const made = yield* Effect.forEach(machines, (machine) =>
          Effect.map(
            make({ name: machine, address: addresses[machine] ?? "" }, name === "ocr" ? graphical : scripted),
            (path) => [machine, { image: Image.startScript(path) }]
          )
        )
        yield* passes(name, Object.fromEntries(made))
      }).pipe(Effect.scoped)
    )
  }
})
