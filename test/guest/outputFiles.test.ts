import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Terminal from "../../src/guest/Terminal.ts"
import { fromPng, toPng } from "../../src/screen/internal/frame.ts"
import * as Recording from "../../src/screen/Recording.ts"
import * as Screen from "../../src/screen/Screen.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { blue, never, pictureOf, showing } from "../screen/displays.ts"

describe("symbolic links in the output folder, as a copy of a guest's tree may have left them,", () => {
  /** Links to a folder and to a file outside, a link to nowhere, and what is outside. */
  const linked = Effect.gen(function* () {
    const base = mkdtempSync(join(tmpdir(), "vmtest-links-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true })))
    const [output, outside] = [join(base, "output"), join(base, "outside")]
    for (const folder of [output, outside, join(output, "tree")]) mkdirSync(folder)
    writeFileSync(join(outside, "mine"), "mine")
    symlinkSync(outside, join(output, "tree", "door"))
    for (const name of ["file.png", "file.webm", "file.txt"]) {
      symlinkSync(join(outside, "mine"), join(output, name))
      symlinkSync(join(outside, "none"), join(output, `dangling-${name}`))
    }
    const cells = "\u0001\u0001\u0000\u0000x\u0007"
    const { guest } = yield* guestOn(
      shellOf(() => Effect.succeed({ exitCode: 0, stdout: cells, stderr: "" })),
      { output }
    )
    const unharmed = () => {
      assert.deepStrictEqual(readdirSync(outside), ["mine"])
      assert.strictEqual(readFileSync(join(outside, "mine"), "utf8"), "mine")
    }
    const { display } = showing(1)
    type Write = (name: string) => Effect.Effect<string, { readonly _tag: string; readonly message: string }>
    const writers: Readonly<Record<string, Write>> = {
      screenshot: (name) => Screen.make(guest, display, Screen.makeReader()).screenshot(name),
      dumpTtyContents: (name) => Terminal.make(guest).dumpTtyContents(1, name),
      recordVideo: (name) =>
        Effect.scoped(
          Effect.flatMap(Recording.make(guest, display).recordVideo(name, { format: "apng" }), ({ stop }) => stop)
        )
    }
    return { display, guest, output, outside, unharmed, writers }
  })

  it.live("lead nothing that a machine writes out of it", () =>
    Effect.gen(function* () {
      const { unharmed, writers } = yield* linked
      for (const write of Object.values(writers)) {
        const error = yield* Effect.flip(write("tree/door/x"))
        assert.strictEqual(error._tag, "HostFileError")
        assert.include(error.message, "outside the output folder")
        unharmed()
      }
    })
  )

  it.live("are replaced by what is written in their place", () =>
    Effect.gen(function* () {
      const { output, unharmed, writers } = yield* linked
      for (const write of Object.values(writers)) {
        for (const name of ["file", "dangling-file"]) {
          const file = yield* write(name)
          assert.isTrue(lstatSync(file).isFile(), file)
          assert.strictEqual(join(output, name), file.slice(0, file.lastIndexOf(".")))
        }
        unharmed()
      }
    })
  )

  it.live("are replaced by the pictures of a screen that differs, which follow none", () =>
    Effect.gen(function* () {
      const { display, guest, outside, output, unharmed } = yield* linked
      const reference = join(relative("", output), "desk.png")
      writeFileSync(reference, toPng(blue))
      const { expectScreenshot } = ScreenImage.make(guest, display)
      const differs = expectScreenshot(reference, { timeout: 0 })
      const first = yield* Effect.flip(differs)
      assert(first._tag === "ScreenDiffers", first._tag)
      // The next one's place is known.
      symlinkSync(join(outside, "mine"), first.actual.replace(".png", "-2.png"))
      const second = yield* Effect.flip(differs)
      assert(second._tag === "ScreenDiffers", second._tag)
      for (const file of [second.actual, second.diff]) assert.isTrue(lstatSync(file).isFile(), file)
      unharmed()
      rmSync(join(output, "box"), { recursive: true })
      symlinkSync(outside, join(output, "box"))
      assert.strictEqual((yield* Effect.flip(differs))._tag, "HostFileError")
      unharmed()
    })
  )

  it.live("that come while a recording runs are replaced at its end", () =>
    Effect.gen(function* () {
      const { display, guest, outside, output, unharmed } = yield* linked
      const recording = yield* Recording.make(guest, display).recordVideo("late/film", { format: "apng" })
      rmdirSync(join(output, "late"))
      symlinkSync(outside, join(output, "late"))
      assert.strictEqual((yield* Effect.flip(recording.stop))._tag, "HostFileError")
      unharmed()
    })
  )
})

describe("the pictures of screens that differ", () => {
  it.live("have names of their own, however alike those of the references are", () =>
    Effect.gen(function* () {
      const base = mkdtempSync(join(tmpdir(), "vmtest-evidence-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true })))
      const output = join(base, "output")
      const { guest } = yield* guestOn(never, { output })
      const references = ["a/panel.png", "b/panel.png", "panel.png"].map((name) => join(relative("", base), name))
      for (const reference of references) {
        mkdirSync(dirname(reference), { recursive: true })
        writeFileSync(reference, toPng(blue))
      }
      const { display, show } = showing(0)
      const files = new Map<string, number>()
      let picture = 100
      for (const machine of ["web", "db"]) {
        const { expectScreenshot } = ScreenImage.make({ ...guest, name: machine }, display)
        for (const reference of [...references, ...references]) {
          yield* show(++picture)
          const error = yield* Effect.flip(expectScreenshot(reference, { timeout: 0 }))
          assert(error._tag === "ScreenDiffers", error._tag)
          assert.isTrue(error.actual.startsWith(join(output, machine)), error.actual)
          files.set(error.actual, picture).set(error.diff, -1)
        }
      }
      assert.strictEqual(files.size, 24)
      for (const [file, shown] of files) {
        if (shown > 0) assert.strictEqual(pictureOf(fromPng(readFileSync(file))), shown)
      }
      // The references are where they were.
      for (const reference of references) assert.isTrue(existsSync(reference))
    })
  )
})
