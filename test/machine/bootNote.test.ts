import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as BootNote from "../../src/machine/internal/bootNote.ts"

const lines = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}`).join("\n")

describe("a note about a long boot", () => {
  const at = (seconds: number, console: string) => ({ machine: "web", waited: Duration.seconds(seconds), console })

  it("has at most five lines of the console, and only new ones", () => {
    const note = BootNote.make(false)
    assert.strictEqual(note(at(10, "")), "no shell after 10 s; the console is silent")
    assert.strictEqual(note(at(20, lines(1, 20))), `no shell after 20 s; the console said last:\n${lines(16, 20)}`)
    assert.strictEqual(note(at(40, lines(1, 20))), "no shell after 40 s; the console said nothing new")
    assert.strictEqual(note(at(70, lines(3, 22))), `no shell after 70 s; the console said last:\n${lines(21, 22)}`)
    assert.strictEqual(note(at(100, lines(50, 69))), `no shell after 100 s; the console said last:\n${lines(65, 69)}`)
  })

  it("says what a guest of a start script has not done", () => {
    const note = BootNote.make(true)
    assert.strictEqual(
      note(at(10, "Linux version")),
      'no shell after 10 s; the guest has not written "Spawning backdoor root shell..." to /dev/hvc0 yet, as the service backdoor of NixOS tests does; the console said last:\nLinux version'
    )
  })
})
