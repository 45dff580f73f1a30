/** `VMTEST_UPDATE_DOCS=1 npx vitest run --project unit test/driver/MachineFile.test.ts` writes the JSON Schema, which Biome formats. */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as MachineFile from "../../src/driver/MachineFile.ts"

const published = fileURLToPath(new URL("../../docs/machine-config.schema.json", import.meta.url))

const read = (json: unknown) =>
  MachineFile.fromJson("/etc/vmtest/machines.json", typeof json === "string" ? json : JSON.stringify(json))

const one = (machine: object) => ({ machines: [machine] })

describe("a file of machines", () => {
  it("has a JSON Schema that is published", () => {
    const { definitions, schema } = Schema.toJsonSchemaDocument(MachineFile.MachineFile, { onExcessProperty: "error" })
    assert.deepStrictEqual(definitions, {})
    const document = { $schema: "https://json-schema.org/draft/2020-12/schema", ...schema }
    if ((process.env.VMTEST_UPDATE_DOCS ?? "") !== "") writeFileSync(published, JSON.stringify(document))
    assert.deepStrictEqual(JSON.parse(readFileSync(published, "utf8")), document)
  })

  it.effect("of attest is read as it is", () =>
    Effect.gen(function* () {
      const { machines, timeout } = yield* read({
        machines: [
          { name: "server", backend: "qemu", start_command: "/nix/store/abc/bin/run-server-vm" },
          { name: "client", backend: "qemu", start_command: "/nix/store/def/bin/run-client-vm" }
        ],
        vlans: [1, 2],
        global_timeout: 1800
      })
      assert.deepStrictEqual(machines, {
        server: { image: { _tag: "StartScriptImage", path: "/nix/store/abc/bin/run-server-vm" }, vlans: [1, 2] },
        client: { image: { _tag: "StartScriptImage", path: "/nix/store/def/bin/run-client-vm" }, vlans: [1, 2] }
      })
      assert.strictEqual(timeout && Duration.toSeconds(timeout), 1800)
    })
  )

  it.effect("has runners, command lines, and paths from its own folder", () =>
    Effect.gen(function* () {
      const { machines, timeout } = yield* read({
        $schema: "./machine-config.schema.json",
        machines: [
          { name: "small", backend: "microvm", runner: "../result", vlans: [3], env: { A: "1" } },
          { name: "raw", backend: "qemu", start_command: "qemu-system-x86_64 -m 512", allow_reboot: true },
          { name: "near", backend: "qemu", start_command: "./run-near-vm" }
        ]
      })
      assert.deepStrictEqual(machines, {
        small: { image: { _tag: "MicrovmImage", runner: "/etc/result", env: { A: "1" } }, vlans: [3] },
        raw: {
          image: { _tag: "StartScriptImage", command: "qemu-system-x86_64 -m 512" },
          vlans: [],
          allowReboot: true
        },
        near: { image: { _tag: "StartScriptImage", path: "/etc/vmtest/run-near-vm" }, vlans: [] }
      })
      assert.isUndefined(timeout)
    })
  )

  it.effect("names another hypervisor, whether it has a backend or not, and whatever the other fields are", () =>
    Effect.gen(function* () {
      const fields = { name: "fc", kernel_image_path: "/vmlinux", mem_size_mib: 512 }
      const without = yield* Effect.flip(read(one({ ...fields, backend: "crosvm" })))
      assert.strictEqual(without._tag, "NoBackend")
      assert.include(without.message, '/etc/vmtest/machines.json: machine "fc": needs the hypervisor crosvm')
      const error = yield* Effect.flip(read(one({ ...fields, backend: "firecracker" })))
      assert.strictEqual(error._tag, "BadMachineFile")
      assert.strictEqual(
        error.message,
        '/etc/vmtest/machines.json: machine "fc": backend must be "qemu" or "microvm", got "firecracker"; use "microvm" with a runner for it, or declare the machine in the script'
      )
    })
  )

  const qemu = { name: "a", backend: "qemu", start_command: "run-a-vm" }
  for (const [json, says] of [
    ["{", "is not JSON: Expected property name"],
    [[], 'the file must be an object with "machines", got []'],
    [{}, "machines is missing: it must be an array of machines"],
    [one({}), 'machines[0] must be an object with a name, and with "backend": "qemu" and a start_command'],
    [one({ ...qemu, backend: "quemu" }), "machines[0] must be an object with a name"],
    [one({ ...qemu, start_command: "" }), "machines[0].start_command must be a start script or a command line"],
    [
      one({ name: "a", backend: "qemu", start_comand: "x" }),
      'unknown option "start_comand" of machines[0]; did you mean "start_command"?'
    ],
    [one({ ...qemu, name: "a b" }), "machines[0].name must be a name of letters, digits and inner hyphens"],
    [one({ ...qemu, env: { A: 1 } }), "machines[0].env.A must be a string, got 1"],
    [{ machines: [qemu, qemu] }, 'has two machines with the name "a"'],
    [{ machines: [], vlans: [0] }, "vlans[0] must be a whole number from 1 to 254, got 0"],
    [{ machines: [], global_timeout: 0 }, "global_timeout must be a number of seconds above 0, got 0"],
    [{ machines: [], gobal_timeout: 1 }, 'unknown option "gobal_timeout"; did you mean "global_timeout"?']
  ] as const) {
    it.effect(`is refused: ${says}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(read(json))
        assert.strictEqual(error._tag, "BadMachineFile")
        assert.include(error.message, `/etc/vmtest/machines.json: ${says}`)
      })
    )
  }

  it.effect("must be there", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(MachineFile.load("/no/such/file.json"))
      assert.strictEqual(message, "/no/such/file.json: does not exist")
    })
  )
})
