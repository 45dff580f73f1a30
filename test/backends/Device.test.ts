import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Device from "../../src/backends/Device.ts"
import * as Image from "../../src/images/Image.ts"
import * as MachineSpec from "../../src/machine/MachineSpec.ts"

const image = Image.tiny({ kernel: "generic" })
const check = (options: Readonly<Record<string, unknown>>) =>
  MachineSpec.check("a", { image, ...options } as MachineSpec.MachineOptions)

const refused = (options: Readonly<Record<string, unknown>>, reason: string) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(check(options))
    assert.strictEqual(error._tag, "InvalidMachine")
    assert.strictEqual(error.reason, reason)
  })

const size = 'a size from 1 MiB to 4 PiB, such as "512 MiB" or a number of bytes'

describe("the devices of a declaration", () => {
  it.effect("are no TPM with the default kernel, over whose ACPI tables QEMU would put the initramfs", () =>
    refused(
      { devices: ["sound", "tpm"], image: Image.debian() },
      'devices[1] must have an image with kernel: "generic", got a TPM and the default kernel'
    )
  )

  it.effect("are types, types with options, or any driver of QEMU's", () =>
    Effect.gen(function* () {
      const { devices } = yield* check({
        devices: [
          "tpm",
          { type: "watchdog", action: "none" },
          { type: "usb-storage", size: "64 MiB", name: "stick", serial: "S1" },
          { driver: "nvme", properties: { serial: "x", max_ioqpairs: 4, use_intel_id: true } }
        ]
      })
      assert.deepInclude(devices, { type: "usb-storage", size: 64 * 1024 ** 2, name: "stick", serial: "S1" })
      assert.deepStrictEqual(
        Device.nameAll(devices).map(({ name }) => name),
        ["tpm1", "watchdog1", "stick", "nvme1"]
      )
      const given = yield* check({
        devices: ["sound", "sound", { type: "tpm", name: "sound1" }, { driver: "a.b" }, { driver: "a-b" }]
      })
      assert.deepStrictEqual(
        Device.nameAll(given.devices).map(({ name }) => name),
        ["sound2", "sound3", "sound1", "a-b1", "a-b2"]
      )
    })
  )

  for (const [devices, reason] of [
    [["tmp"], 'devices[0] must be a type of device, got "tmp"; did you mean "tpm"?'],
    [
      ["usb-storage"],
      'devices[0] must be a type of device, got "usb-storage"; it needs more than its type: { type: "usb-storage", … }'
    ],
    [
      [{ type: "usb-storge" }],
      'devices[0].type must be a type of device, got "usb-storge"; did you mean "usb-storage"?'
    ],
    [[{ type: "i6300esb" }], 'devices[0].type must be a type of device, got "i6300esb"; did you mean "watchdog"?'],
    [["sound", { type: "usb-storage" }], `devices[1].size is missing: it must be ${size}`],
    [[{ type: "usb-storage", size: "1 B" }], `devices[0].size must be ${size}, got "1 B"`],
    [[{ type: "tpm", nmae: "x" }], 'unknown option "nmae" of devices[0]; did you mean "name"?'],
    [[{ driver: "" }], 'devices[0].driver must be the name of a driver of QEMU, such as "nvme", got ""'],
    [[{ driver: "nvme", properties: { id: "x" } }], "devices[0] must have a name instead of the property id"],
    [["tpm", "tpm"], "devices must have at most one tpm, got another in devices[1]"],
    [
      [
        { type: "tpm", name: "one" },
        { type: "sound", name: "one" }
      ],
      'devices[1].name must differ from those of the other devices, got "one"'
    ],
    ["tpm", 'devices must be an array, each a device, got "tpm"']
  ] as const) {
    it.effect(`are refused: ${JSON.stringify(devices)}`, () => refused({ devices }, reason))
  }

  it.effect("share the slots of the machine with its disks and cards, except those on USB", () =>
    Effect.gen(function* () {
      const sticks = Array.from({ length: 14 }, () => "usb-mouse")
      yield* refused({ devices: [...sticks, "usb-tablet"] }, "devices must have at most 14 on USB, got 15")
      yield* check({ vlans: [1, 2], disks: ["1 MiB"], devices: ["sound", "watchdog", "tpm", ...sticks] })
      const nvme = Array.from({ length: 20 }, () => ({ driver: "nvme" }))
      yield* refused(
        { disks: ["1 MiB"], devices: nvme },
        "vlans, disks and devices must be at most 22 together, got 1, 1 and 21 (1 of them for USB and what is plugged in)"
      )
    })
  )
})

describe("further arguments for QEMU", () => {
  it.effect("are taken as they are, unless vmtest decides what they decide", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* check({ qemuArguments: ["-device", "edu"] })).qemuArguments, ["-device", "edu"])
      yield* refused(
        { qemuArguments: ["-m", "2G"] },
        "qemuArguments must not have -m, which vmtest decides; use memory instead"
      )
      for (const [word, instead] of [
        ["-no-reboot", "; use allowReboot instead"],
        ["-action", "; use allowReboot, or the action of a watchdog, instead"],
        ["--display", "; use screenshot instead"],
        ["-nographic", "; use console instead"],
        ["-accel", "; use VMTEST_ACCEL instead"],
        ["-enable-kvm", "; use VMTEST_ACCEL instead"],
        ["-no-shutdown", ""],
        ["-machine", ""],
        ["-M", ""],
        ["-cpu", ""]
      ] as const) {
        yield* refused(
          { qemuArguments: [word, "x"] },
          `qemuArguments must not have ${word}, which vmtest decides${instead}`
        )
      }
      yield* refused({ qemuArguments: ["-daemonize"] }, "qemuArguments must not have -daemonize, which vmtest decides")
      yield* refused({ qemuArguments: [""] }, 'qemuArguments[0] must be an argument without NUL bytes, got ""')
    })
  )
})
