import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-scripts-"))
afterAll(() => Fs.rmSync(folder, { recursive: true }))

const write = (name: string, text: string, mode = 0o755) => {
  const path = Path.join(folder, name)
  Fs.writeFileSync(path, text, { mode })
  return path
}

const resolve = (image: Image.Image) =>
  Effect.flatMap(ImageStore, (store) => store.resolve(image)).pipe(Effect.provide(ImageStore.layer))

const refusal = (image: Image.Image) => Effect.map(Effect.flip(resolve(image)), ({ message }) => message)

describe("Image.startScript", () => {
  it("takes a path, or with a blank in it a command line", () => {
    assert.deepStrictEqual(Image.startScript("./run-web-vm"), { _tag: "StartScriptImage", path: "./run-web-vm" })
    const command = "qemu-system-x86_64 -m 512"
    assert.deepStrictEqual(Image.startScript(command), { _tag: "StartScriptImage", command })
    const path = "/a folder/run-web-vm"
    assert.deepStrictEqual(Image.startScript({ path }), { _tag: "StartScriptImage", path })
  })

  it.effect("is run as it is, with what its text says of how it takes arguments", () =>
    Effect.gen(function* () {
      const path = write("run-a-vm", '#!/bin/sh\nexec qemu $QEMU_OPTS "$@"\n')
      const { guest, startScript } = yield* resolve(Image.startScript(path))
      assert.strictEqual(guest, "script")
      assert.strictEqual(startScript?.command, path)
      assert.strictEqual(startScript?.takes, "arguments")
      assert.isFalse(startScript?.accelerated)
      const inVariable = write("run-b-vm", "#!/bin/sh\nexec qemu -accel kvm $QEMU_OPTS\n")
      const other = (yield* resolve(Image.startScript(inVariable))).startScript
      assert.strictEqual(other?.takes, "QEMU_OPTS")
      assert.isTrue(other?.accelerated)
      const container = write("run-c-nspawn", "#!/bin/sh\n")
      assert.isTrue((yield* resolve(Image.startScript(container))).startScript?.container)
    })
  )

  it.effect("is known by its text also where a command line begins with it", () =>
    Effect.gen(function* () {
      Fs.mkdirSync(Path.join(folder, "a b"))
      const path = write("a b/run-e-vm", "#!/bin/sh\nexec qemu -accel kvm $QEMU_OPTS\n")
      for (const command of [`'${path}'`, `"${path}"`, `'${path}' -m 64`]) {
        const { digest, startScript } = yield* resolve(Image.startScript({ command }))
        assert.deepInclude(startScript, { command, takes: "QEMU_OPTS", accelerated: true })
        write("a b/run-e-vm", `${Fs.readFileSync(path, "utf8")}# changed\n`)
        assert.notStrictEqual((yield* resolve(Image.startScript({ command }))).digest, digest)
      }
      for (const command of ["qemu-system-x86_64 -m 64", `cd /; '${path}'`, "/none -m 64", "'/a b"]) {
        assert.deepInclude((yield* resolve(Image.startScript({ command }))).startScript, {
          command,
          takes: "arguments"
        })
      }
    })
  )

  for (const [text, vlans] of [
    ['exec qemu sock="$QEMU_VDE_SOCKET_1" sock="$QEMU_VDE_SOCKET_12" sock="${QEMU_VDE_SOCKET_1}"', [1, 12]],
    ["exec qemu", undefined],
    ['for n in 1 2; do eval "sock=\\$QEMU_VDE_SOCKET_$n"; done', undefined]
  ] as const) {
    it.effect(`is known by the VLANs that its text names: ${text}`, () =>
      Effect.gen(function* () {
        const path = write("run-vlans-vm", `#!/bin/sh\n${text}\n`)
        for (const image of [Image.startScript(path), Image.startScript({ command: `${path} -m 64` })]) {
          assert.deepStrictEqual((yield* resolve(image)).startScript?.vlans, vlans)
        }
      })
    )
  }

  it.effect("is another image when the script, its variables or its command line change", () =>
    Effect.gen(function* () {
      const path = write("run-d-vm", "#!/bin/sh\nexec qemu\n")
      const first = yield* resolve(Image.startScript(path))
      assert.strictEqual((yield* resolve(Image.startScript(path))).digest, first.digest)
      assert.notStrictEqual((yield* resolve(Image.startScript({ path, env: { A: "1" } }))).digest, first.digest)
      write("run-d-vm", "#!/bin/sh\nexec qemu -m 64\n")
      assert.notStrictEqual((yield* resolve(Image.startScript(path))).digest, first.digest)
    })
  )

  it.effect("is refused where there is nothing to run", () =>
    Effect.gen(function* () {
      const none = Path.join(folder, "none")
      assert.strictEqual(
        yield* refusal(Image.startScript(none)),
        `image start script ${none}: path must be a start script, but ${none} does not exist; a command line needs an argument, or { command }`
      )
      assert.include(yield* refusal(Image.startScript(folder)), "is not a file")
      const plain = write("plain", "#!/bin/sh\n", 0o644)
      // root may not run a file that nobody may.
      assert.include(yield* refusal(Image.startScript(plain)), "is not executable; make it so with chmod +x")
      assert.include(yield* refusal(Image.startScript({})), "must have either `path` or `command`")
      assert.include(
        yield* refusal(Image.startScript({ path: "a", command: "b" })),
        "must have either `path` or `command`"
      )
      assert.include(
        yield* refusal(Image.startScript({ command: " \n" })),
        "must be a command line of QEMU, got only blanks"
      )
      const options: object = { path: "a", memroy: 1 }
      assert.include(yield* refusal(Image.startScript(options)), "memroy")
    })
  )

  it("has a name for messages", () => {
    assert.strictEqual(Image.describe(Image.startScript("run-web-vm")), "start script run-web-vm")
    assert.strictEqual(Image.describe(Image.startScript("qemu -m 1")), "command line qemu -m 1")
  })
})
