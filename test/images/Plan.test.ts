import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import * as Plan from "../../src/images/internal/plan.ts"

const key = (options: Image.DebianOptions) => Effect.map(Plan.debian(Image.debian(options)), (plan) => plan.key)
const refused = (options: Image.DebianOptions) => Effect.flip(Plan.debian(Image.debian(options)))

const whole: Image.DebianOptions = {
  packages: ["nginx-light", "curl"],
  files: { "/etc/motd": "hello\n", "/opt/run": { content: "x", mode: 0o755, owner: "www-data" } },
  units: { "echo.service": "[Service]\nExecStart=/bin/true\n" },
  users: { alice: { groups: ["games"] } },
  setup: ["true"]
}

describe("an image that mounts disks", () => {
  const early = (options: Image.DebianOptions) =>
    Effect.map(Plan.debian(Image.debian(options)), ({ files }) =>
      files.filter(({ path }) => path.includes("systemd-udev")).map(({ data, path }) => `${path}: ${data.length} bytes`)
    )
  const empty = ["systemd-udevd", "systemd-udev-trigger"].map(
    (unit) => `/etc/systemd/system/${unit}.service.d/vmtest.conf: 0 bytes`
  )

  it.effect("finds its devices before the driver's shell starts, for whose files the mounts are waited for", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* early({ files: { "/etc/fstab": "/dev/vdb /data ext4" } }), empty)
      assert.deepStrictEqual(yield* early({ units: { "data.mount": "[Mount]\nWhat=/dev/vdb\nWhere=/data\n" } }), empty)
      assert.deepStrictEqual(yield* early(whole), [])
    })
  )
})

describe("the key of an image", () => {
  it.effect("is the same however the same description is written", () =>
    Effect.gen(function* () {
      const other: Image.DebianOptions = {
        setup: "true",
        users: { alice: { groups: ["games"] } },
        units: { "echo.service": { text: "[Service]\nExecStart=/bin/true\n", enabled: true } },
        files: {
          "/opt/run": { owner: "www-data", mode: 0o755, content: new TextEncoder().encode("x") },
          "/etc/motd": { content: "hello\n", mode: 0o644 }
        },
        packages: ["curl", "nginx-light", "curl"],
        suite: "bookworm",
        hostname: "vmtest"
      }
      assert.strictEqual(yield* key(whole), yield* key(other))
      assert.strictEqual(yield* key({}), yield* key({ packages: [], files: {} }))
    })
  )

  it.effect("differs for everything that makes another guest", () =>
    Effect.gen(function* () {
      const changes: ReadonlyArray<Image.DebianOptions> = [
        {},
        { packages: ["nginx-light"] },
        { files: { ...whole.files, "/etc/motd": "hullo\n" } },
        { files: { ...whole.files, "/etc/motd": { content: "hello\n", mode: 0o600 } } },
        { files: { ...whole.files, "/etc/motd": { content: "hello\n", owner: "games" } } },
        { files: { "/etc/issue": "hello\n" } },
        { units: { "echo.service": { text: "[Service]\nExecStart=/bin/true\n", enabled: false } } },
        { users: { alice: {} } },
        { setup: ["false"] },
        { hostname: "web" },
        { suite: "trixie" },
        { mirror: "http://mirror.example/debian" },
        { kernelParameters: "nosmp" }
      ]
      const keys = yield* Effect.forEach(changes, (change) => key({ ...whole, ...change }))
      assert.strictEqual(new Set([...keys, yield* key({})]).size, changes.length + 1)
      assert.strictEqual(yield* key(whole), keys[0])
      assert.notStrictEqual((yield* Plan.tiny(Image.tiny())).key, yield* key({}))
    })
  )

  it.effect("follows the content of a source, not its name or age", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      Fs.writeFileSync(Path.join(folder, "a"), "one")
      Fs.writeFileSync(Path.join(folder, "b"), "one")
      Fs.utimesSync(Path.join(folder, "b"), 1, 1)
      const of = (name: string) => key({ files: { "/f": { source: Path.join(folder, name) } } })
      const first = yield* of("a")
      assert.strictEqual(yield* of("b"), first)
      Fs.writeFileSync(Path.join(folder, "b"), "two")
      assert.notStrictEqual(yield* of("b"), first)
    }).pipe(Effect.scoped)
  )
})

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-files-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

describe("the files of an image", () => {
  it.effect("take a folder with all below it, and keep what can be executed so", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      Fs.mkdirSync(Path.join(folder, "bin"))
      Fs.writeFileSync(Path.join(folder, "bin", "run"), "#!/bin/sh\n", { mode: 0o750 })
      Fs.writeFileSync(Path.join(folder, "readme"), "text", { mode: 0o600 })
      const plan = yield* Plan.tiny(Image.tiny({ files: { "/srv/app": { source: folder }, "/a": "1" } }))
      assert.deepStrictEqual(
        plan.files.map(({ data, mode, path }) => [path, mode, Buffer.from(data).toString()]),
        [
          ["/a", 0o644, "1"],
          ["/srv/app/bin/run", 0o755, "#!/bin/sh\n"],
          ["/srv/app/readme", 0o644, "text"]
        ]
      )
    }).pipe(Effect.scoped)
  )
})

describe("a description that makes no sense is refused, with the place where it does not", () => {
  const wrong: ReadonlyArray<readonly [string, Image.DebianOptions, string]> = [
    ["a relative path", { files: { "etc/motd": "" } }, "files.etc/motd"],
    ["a path with .. in it", { files: { "/etc/../motd": "" } }, "files./etc/../motd"],
    ["a folder's path", { files: { "/etc/": "" } }, "files./etc/"],
    ["a file without content", { files: { "/a": {} } }, "files./a"],
    ["a file with two contents", { files: { "/a": { content: "", source: "/etc/passwd" } } }, "files./a"],
    ["a source that is not there", { files: { "/a": { source: "/no/such/file" } } }, "files./a"],
    ["a mode that is none", { files: { "/a": { content: "", mode: 0o70000 } } }, "files./a.mode"],
    ["an owner that is a command", { files: { "/a": { content: "", owner: "$(id)" } } }, "files./a.owner"],
    ["a package that is an option", { packages: ["--purge"] }, "packages[0]"],
    ["a package that is to be removed", { packages: ["systemd-"] }, "packages[0]"],
    ["a package with blanks", { packages: ["a b"] }, "packages[0]"],
    ["a unit without a kind", { units: { echo: "" } }, "units.echo"],
    ["a unit with a path", { units: { "../echo.service": "" } }, "units.../echo.service"],
    ["a user with blanks", { users: { "a b": {} } }, "users.a b"],
    ["a host name with a dot", { hostname: "a.b" }, "hostname"],
    ["a suite with a path", { suite: "../x" }, "suite"],
    ["a mirror that is no address", { mirror: "deb.example" }, "mirror"],
    ["parameters of two lines", { kernelParameters: "a\nb" }, "kernelParameters"]
  ]
  for (const [what, options, field] of wrong) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const error = yield* refused(options)
        assert.strictEqual(error._tag, "BadImage")
        assert.strictEqual(error.field, field)
        assert.include(error.message, field)
      })
    )
  }

  it.effect("an owner in a guest that has only root, and a module's name with a path", () =>
    Effect.gen(function* () {
      const owned = yield* Effect.flip(Plan.tiny(Image.tiny({ files: { "/a": { content: "", owner: "games" } } })))
      assert.strictEqual(owned.field, "files./a")
      const module = yield* Effect.flip(Plan.tiny(Image.tiny({ modules: ["../x"] })))
      assert.strictEqual(module.field, "modules[0]")
    })
  )
})

describe("a description that no compiler checked", () => {
  for (const [field, value, at, words] of [
    [
      "packages",
      "nginx",
      "packages",
      'packages must be an array of names of Debian packages, such as ["nginx-light"], got'
    ],
    ["packages", [1], "packages[0]", "packages[0] must be the name of a Debian package"],
    ["files", "/etc/motd", "files", "files must be an object of paths in the guest and their contents"],
    ["files", { "/etc/motd": 1 }, "files./etc/motd", "must be a string, a Uint8Array, or an object"],
    ["units", ["echo.service"], "units", "units must be an object of unit names and their texts"],
    ["units", { "echo.service": {} }, "units.echo.service.text", "units.echo.service.text is missing"],
    ["users", "alice", "users", "users must be an object of user names and their options"],
    ["users", { alice: true }, "users.alice", "users.alice must be an object of options"],
    ["setup", 1, "setup", "setup must be a command, or an array of commands, got 1"],
    ["suite", 12, "suite", "suite must be the name of a Debian release"],
    ["kernelParameters", ["quiet"], "kernelParameters", "kernelParameters must be a string of one line"]
  ] as const) {
    it.effect(`is refused for ${field}: ${JSON.stringify(value)}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Plan.debian({ ...Image.debian(), [field]: value }))
        assert.strictEqual(error._tag, "BadImage")
        assert.strictEqual(error.field, at)
        assert.include(error.message, words)
      })
    )
  }

  for (const [options, field, meant] of [
    [{ package: ["nginx"] }, "package", "packages"],
    [{ kernelParams: "quiet" }, "kernelParams", "kernelParameters"],
    [{ files: { "/a": { contents: "" } } }, "files./a.contents", "content"],
    [{ units: { "a.service": { text: "", enable: false } } }, "units.a.service.enable", "enabled"],
    [{ users: { alice: { passwd: "" } } }, "users.alice.passwd", "password"]
  ] as const) {
    it.effect(`is refused for the misspelt ${field}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Plan.debian(Image.debian(options as object)))
        assert.strictEqual(error._tag, "BadImage")
        assert.strictEqual(error.field, field)
        assert.include(error.message, `did you mean ${JSON.stringify(meant)}?`)
      })
    )
  }

  it.effect("takes files that are bytes", () => Plan.debian(Image.debian({ files: { "/a": new Uint8Array([1, 2]) } })))

  it("has a name in messages", () => {
    assert.strictEqual(Image.describe(Image.debian({ packages: "nginx" } as object)), "debian")
  })
})
