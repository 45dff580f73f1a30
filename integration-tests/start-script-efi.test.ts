/** UEFI machines of start scripts: the firmware keeps its variables in a file of the state folder, `NIX_EFI_VARS`. */
import * as Fs from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { needs } from "../test/needs.ts"
import { place } from "../test/nixos/support.ts"
import { bzImage } from "./bzImage.ts"
import { image, ovmf, scripts } from "./nixosScript.ts"

/** The start script of a UEFI machine, with the image's own kernel. */
const uefiScript = Effect.gen(function* () {
  const { folder, make } = yield* scripts
  const kernel = yield* bzImage(yield* (yield* ImageStore).resolve(image()), folder)
  return yield* make({ name: "uefi", efi: { ...ovmf, kernel } })
})

const vendor = "8f6a4b0e-1a52-4c0c-9d61-6b6f5a1c7d10"
const variables = "/sys/firmware/efi/efivars"

/** Non-volatile, for boot services and at run time. */
const attributes = "\\007\\000\\000\\000"

const set = (machine: Machine, name: string) =>
  machine.succeed(`printf '${attributes}%s' 'the value of ${name}' >${variables}/${name}-${vendor}`)

/** The variables that tests have set, by their values. Such a file cannot be sought in. */
const valuesOf = (machine: Machine) =>
  Effect.map(
    machine.succeed(
      `for file in ${variables}/*-${vendor}; do [ -e "$file" ] || continue; cat "$file" | tail -c +5; echo; done`
    ),
    (said) => said.split("\n").filter((line) => line !== "")
  )

describe("a UEFI machine of a start script", () => {
  needs(
    Fs.existsSync(ovmf.firmware) && Fs.existsSync(ovmf.variables),
    `${ovmf.firmware} or ${ovmf.variables} is missing: apt-get install ovmf`
  )

  it.live(
    "is saved and forked with its variables, each fork with a file of its own",
    () =>
      Effect.gen(function* () {
        const driver = yield* Driver
        const path = yield* uefiScript
        const uefi = yield* driver.machine("uefi", { image: Image.startScript(path), allowReboot: true })
        assert.strictEqual(yield* uefi.succeed("cat /sys/firmware/efi/fw_platform_size"), "64\n")
        assert.deepStrictEqual(yield* valuesOf(uefi), [])
        yield* set(uefi, "Before")
        const saved = yield* uefi.snapshot("before")
        yield* set(uefi, "Later")
        const fork = yield* uefi.fork({ from: saved })
        assert.deepStrictEqual(yield* valuesOf(fork), ["the value of Before"])
        yield* set(fork, "Other")
        yield* uefi.reboot()
        assert.deepStrictEqual(yield* valuesOf(uefi), ["the value of Before", "the value of Later"])
        // A machine that is switched on reads the file.
        yield* fork.shutdown({ timeout: "5 minutes" })
        yield* fork.start()
        assert.deepStrictEqual(yield* valuesOf(fork), ["the value of Before", "the value of Other"])
        yield* fork.crash()
        yield* uefi.restore(saved)
        assert.deepStrictEqual(yield* valuesOf(uefi), ["the value of Before"])
        yield* uefi.crash()
        yield* uefi.start()
        assert.deepStrictEqual(yield* valuesOf(uefi), ["the value of Before"])
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.mergeAll(DriverLayer.layer({ name: "start-script-efi" }), ImageStore.layer))
      ),
    900_000
  )

  describe("of nixos-test-driver", () => {
    const { configured, nothingLeft, path, run } = place()

    const script = `
variable = "${variables}/Proof-${vendor}"

def write():
    uefi.succeed(f"printf '${attributes.replaceAll("\\", "\\\\")}proof' >{variable}")

def reads():
    return uefi.succeed(f"cat {variable} | tail -c +5") == "proof"

def is_fresh():
    uefi.succeed("test -d ${variables}")
    uefi.fail(f"test -e {variable}")
    return True
`
    const survives = `${script}
uefi.start(allow_reboot=True)
assert is_fresh()
write()
file = uefi.state_dir / "uefi-efi-vars.fd"
assert "Proof".encode("utf-16-le") in file.read_bytes()
with subtest("a reboot"):
    uefi.reboot()
    assert reads()
with subtest("power off, and on again"):
    uefi.shutdown()
    assert "Proof".encode("utf-16-le") in file.read_bytes()
    uefi.start()
    assert reads()
`

    it.live(
      "keeps its variables through a reboot and a start; the next run begins without them, unless it keeps the state",
      () =>
        Effect.gen(function* () {
          const vms = { uefi: { name: "uefi", start_script: yield* uefiScript } }
          const passes = (text: string, ...more: ReadonlyArray<string>) => {
            const { status, stderr, stdout } = run([
              ...configured({ script: text, vms, vlans: [1], global_timeout: 1200 }),
              ...more
            ])
            assert.strictEqual(status, 0, `${stderr}${stdout}`)
          }
          const file = path("run", "vm-state-uefi", "uefi-efi-vars.fd")
          passes(survives)
          assert.isTrue(Fs.existsSync(file))
          passes(`${script}assert reads()\n`, "--keep-vm-state")
          passes(`${script}assert is_fresh()\n`)
          yield* Effect.promise(() => nothingLeft())
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(ImageStore.layer, NodeServices.layer))),
      900_000
    )
  })
})
