import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import * as BuildDebian from "../../src/images/internal/buildDebian.ts"
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
      assert.strictEqual(yield* key({}), yield* key({ kernel: "cloud" }))
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
        { kernelParameters: "nosmp" },
        { kernel: "generic" }
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
    ["a file where each guest has a folder", { files: { "/etc": "x" } }, "files./etc"],
    ["a file where another's folder is", { files: { "/a/b/c": "x", "/a": "y" } }, "files./a"],
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
    ["two users of one number", { users: { alice: { uid: 1000 }, bob: { uid: 1000 } } }, "users.bob.uid"],
    ["a user with root's number", { users: { alice: { uid: 0 } } }, "users.alice.uid"],
    ["a group that is none", { users: { alice: { groups: ["a,b"] } } }, "users.alice.groups[0]"],
    ["a group's number", { users: { alice: { groups: ["27"] } } }, "users.alice.groups[0]"],
    ["a shell without its path", { users: { alice: { shell: "bash" } } }, "users.alice.shell"],
    ["a password of two lines", { users: { alice: { password: "a\nroot:b" } } }, "users.alice.password"],
    ["an empty password", { users: { alice: { password: "" } } }, "users.alice.password"],
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
    const circular: Record<string, unknown> = {}
    circular.files = circular
    assert.match(Image.describe(Image.debian(circular as object)), /^debian with 1 file #[0-9a-f]{4}$/)
  })
})

describe("what an image is called", () => {
  for (const [image, name] of [
    [Image.tiny(), /^tiny$/],
    [Image.debian(), /^debian$/],
    [Image.debian({ suite: "trixie" }), /^debian trixie$/],
    [Image.debian({ packages: ["nginx-light", "curl"] }), /^debian with nginx-light, curl$/],
    [
      Image.debian({ packages: ["a1", "a2", "a3", "a4", "a5"] }),
      /^debian with a1, a2, a3, a4 and 1 more #[0-9a-f]{4}$/
    ],
    [Image.debian({ packages: ["curl"], files: { "/a": "1", "/b": "2" } }), /^debian with curl, 2 files #[0-9a-f]{4}$/],
    [
      Image.debian({ units: { "a.service": "" }, users: { alice: {} }, setup: "true", hostname: "x" }),
      /^debian with 1 unit, 1 user, setup #[0-9a-f]{4}$/
    ],
    [
      Image.tiny({ modules: ["8021q"], kernelParameters: "quiet" }),
      /^tiny with 1 module, kernel parameters #[0-9a-f]{4}$/
    ],
    [Image.disk({ path: "disk.raw" }), /^disk disk\.raw$/]
  ] as const) {
    it(`is ${name.source}`, () => assert.match(Image.describe(image), name))
  }

  it("tells images apart whose words are the same, and is the same for equal ones", () => {
    const of = (content: string | Uint8Array) => Image.describe(Image.debian({ files: { "/a": content } }))
    const names = [of("1"), of("2"), of(Buffer.from("1")), of(Buffer.from("2"))]
    assert.strictEqual(new Set(names).size, names.length)
    assert.strictEqual(of("1"), names[0])
    const mirrored = Image.describe(Image.debian({ mirror: "http://mirror.example/debian" }))
    assert.match(mirrored, /^debian #[0-9a-f]{4}$/)
  })
})

describe("the script of an image", () => {
  const scriptOf = (options: Image.DebianOptions) =>
    Effect.map(Plan.debian(Image.debian(options)), BuildDebian.imageScript)

  it.effect("makes groups that are not there, before the user who is in them", () =>
    Effect.gen(function* () {
      const script = yield* scriptOf({ users: { alice: { uid: 1234, groups: ["sudo", "alice", "plugdev2"] } } })
      const lines = script.split("\n")
      const at = (text: string) => lines.findIndex((line) => line.includes(text))
      assert.isAbove(at("useradd"), at("getent group plugdev2 >/dev/null || groupadd --system plugdev2"))
      assert.include(lines[at("useradd")], "--uid 1234 $vm_gid --groups sudo,plugdev2 alice")
      assert.notInclude(script, "groupadd --system alice")
    })
  )
})
