import { assert, describe, it } from "@effect/vitest"
import * as Base from "../../src/images/internal/debianBase.ts"
import * as GuestFiles from "../../src/images/internal/guestFiles.ts"
import { paragraph, row } from "./debianGuest.ts"

/** The words of a loop of the script that makes a guest's base. */
const loop = (name: string, body: string): ReadonlyArray<string> => {
  const script = GuestFiles.debianScript("6.1")
  const [, list = ""] = new RegExp(`for ${name} in ([^;]*); do ${body}`).exec(script) ?? []
  assert.notStrictEqual(list, "", body)
  return list.split(" ")
}

describe("docs/debian-guest.md", () => {
  it("names the packages that a guest has besides Debian's own", () => {
    assert.deepStrictEqual(row("added"), Base.basePackages)
  })

  it("names every unit that is masked or not wanted, and every generator that is off", () => {
    assert.sameMembers([...paragraph("These units are masked:")], [...loop("unit", "ln")])
    assert.sameMembers([...paragraph("or nothing needs it:")], [...loop("unit", "rm")])
    assert.sameMembers([...paragraph("These generators of systemd are off:")], [...loop("name", "ln")])
  })

  it("names the devices that udev looks for at boot, and the kernel's command line", () => {
    const trigger = GuestFiles.debianFiles["/etc/systemd/system/systemd-udev-trigger.service.d/vmtest-subsystems.conf"]
    const subsystems = [...(trigger ?? "").matchAll(/subsystem-match=([\w-]+)/g)].map(([, name]) => name)
    assert.deepStrictEqual([...paragraph("udev's coldplug covers devices of the subsystems")], subsystems)
    const [parameters = ""] = paragraph("Its command line is")
    assert.sameMembers(parameters.split(" "), GuestFiles.commandLine.split(" "))
  })
})
