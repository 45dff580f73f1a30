import { execFileSync, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Identity from "../../src/machine/internal/identity.ts"
import * as renew from "../../src/machine/internal/renew.ts"
import * as Addresses from "../../src/network/Addresses.ts"
import { needs } from "../needs.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-renew-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

const source = fileURLToPath(new URL("../../src/machine/internal/renew.s", import.meta.url))
const hasAssembler = spawnSync("as", ["--version"]).status === 0

describe("the program that renews a guest", () => {
  needs(process.arch === "x64", "it is a program for x86-64")

  it("is a program, and says when it is given nothing", () => {
    const path = Path.join(folder, "renew")
    Fs.writeFileSync(path, renew.program, { mode: 0o700 })
    // It reads its orders first of all: without them it touches nothing.
    assert.strictEqual(spawnSync(path, { input: "" }).status, 1)
    assert.strictEqual(spawnSync(path, { input: "short" }).status, 1)
  })

  it("is what its source says", ({ skip }) => {
    skip(!hasAssembler, "as is not installed (Debian: binutils)")
    execFileSync("as", [source, "-o", Path.join(folder, "renew.o")])
    const binary = Path.join(folder, "renew.bin")
    execFileSync("objcopy", ["-O", "binary", "-j", ".text", Path.join(folder, "renew.o"), binary])
    assert.isTrue(renew.program.subarray(120).equals(Fs.readFileSync(binary)))
  })
})

describe("what a guest that goes on is told", () => {
  const [web] = Addresses.assign([
    { name: "web", vlans: [1, 2] },
    { name: "db", vlans: [1] }
  ]).filter(({ name }) => name === "web")
  const identity = { self: web!, all: [web!], internet: false }

  /** Answers with these exit codes, one after the other, and keeps the scripts. */
  const guest = (...codes: ReadonlyArray<number>) => {
    const scripts: Array<string> = []
    const run = (script: string) =>
      Effect.sync(() => {
        scripts.push(script)
        return { exitCode: codes[scripts.length - 1] ?? 0, stdout: "", stderr: "" }
      })
    return { run, scripts }
  }

  it.effect("is one script where it has its program and its addresses", () =>
    Effect.gen(function* () {
      const { run, scripts } = guest(0)
      yield* Identity.fork(run, identity, { newHostKeys: false })
      assert.strictEqual(scripts.length, 1)
      assert.notInclude(scripts[0], "ssh-keygen")
      assert.notInclude(scripts[0], "ip -force")
    })
  )

  it.effect("is given the program first where it lacks it, and its addresses where they are others", () =>
    Effect.gen(function* () {
      const { run, scripts } = guest(97, 0, 98, 0)
      const { exitCode } = yield* Identity.fork(run, identity, { newHostKeys: true })
      assert.strictEqual(exitCode, 0)
      assert.strictEqual(scripts.length, 4)
      assert.strictEqual(scripts[1], Identity.beforeSaving)
      assert.include(scripts[2], "ssh-keygen -q -t")
      assert.include(scripts[3], "52:54:00:12:02:02")
      // What is renewed twice is renewed with other entropy.
      assert.notStrictEqual(scripts[0], scripts[2])
    })
  )

  it.effect("ends with what went wrong", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Identity.fork(guest(97, 1).run, identity, { newHostKeys: false })).exitCode, 1)
      assert.strictEqual((yield* Identity.restore(guest(1).run)).exitCode, 1)
    })
  )

  it.effect("is text that every shell can read", () =>
    Effect.gen(function* () {
      const { run, scripts } = guest(97, 0, 98, 0, 0)
      yield* Identity.fork(run, identity, { newHostKeys: true })
      yield* Identity.restore(run)
      for (const shell of ["bash", "dash", "busybox"]) {
        for (const script of scripts) {
          const words = shell === "busybox" ? ["ash", "-n"] : ["-n"]
          const { error, status, stderr } = spawnSync(shell, words, { input: script, encoding: "utf8" })
          // A host need not have all of them.
          if (error === undefined) assert.strictEqual(status, 0, `${shell}: ${stderr}`)
        }
      }
    })
  )
})
