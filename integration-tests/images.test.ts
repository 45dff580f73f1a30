/** Images, built from the real archive and booted on a bare QEMU. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as HostProcess from "../src/host/HostProcess.ts"
import * as Image from "../src/images/Image.ts"
import type { ImageProgress, ResolveOptions } from "../src/images/ImageStore.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { boot } from "./images/bareQemu.ts"

/** A store of its own, as another process would have. */
const resolve = (image: Image.Image, options?: ResolveOptions) =>
  ImageStore.use((store) => store.resolve(image, options)).pipe(Effect.provide(Layer.fresh(ImageStore.layer)))

describe("a tiny guest", () => {
  it.live("boots to its shell, with what was put into it, and ends by itself", () =>
    Effect.gen(function* () {
      const files = { "/etc/motd": "hello\n", "/usr/bin/greet": { content: "#!/bin/sh\necho hi $1\n", mode: 0o755 } }
      const guest = yield* boot(yield* resolve(Image.tiny({ files, modules: ["dummy"] })))
      assert.strictEqual(yield* guest.run("id -u; echo $HOME; cat /etc/motd; greet you"), "0\n/root\nhello\nhi you\n")
      assert.match(yield* guest.run("cat /proc/modules"), /^dummy [\s\S]*^virtio_console /m)
      assert.strictEqual(yield* guest.run("ls /dev/virtio-ports"), "vmtest.0\n")
      yield* guest.type("exit")
      yield* guest.ready
      assert.strictEqual(yield* guest.run("echo again"), "again\n")
      yield* guest.type("poweroff")
      assert.strictEqual((yield* guest.exited).exitCode, 0)
    }).pipe(Effect.scoped)
  )

  it.live("takes the power button and a reboot", () =>
    Effect.gen(function* () {
      const image = yield* resolve(Image.tiny())
      const first = yield* boot(image)
      yield* first.powerButton
      assert.strictEqual((yield* first.exited).exitCode, 0)
      const second = yield* boot(image)
      yield* second.type("reboot")
      assert.strictEqual((yield* second.exited).exitCode, 0)
    }).pipe(Effect.scoped)
  )
})

describe("a debian guest", () => {
  // What all of them start from takes minutes to build on a busy host, once.
  beforeAll(() => Effect.runPromise(resolve(Image.debian())))

  it.live("boots to its shell with its packages, files, users and units, and settles without a failed unit", () =>
    Effect.gen(function* () {
      const image = Image.debian({
        packages: ["netcat-openbsd"],
        hostname: "web",
        users: {
          alice: { groups: ["games", "made-here"], password: "secret", linger: true },
          // The name of a group that Debian has, and users that it has.
          staff: {},
          "www-data": { groups: ["made-here", "games"] },
          root: { password: "toor" }
        },
        files: {
          "/etc/motd": "hello\n",
          "/lib/greeting": "under a link\n",
          "/opt/run": { content: "#!/bin/sh\necho run as $(id -un)\n", mode: 0o4755, owner: "alice:games" }
        },
        units: {
          "beat.service": "[Service]\nExecStart=/bin/sleep infinity\n",
          "asked.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
          "unasked.service": { text: "[Service]\nExecStart=/bin/true\n", enabled: false }
        },
        setup: ["echo built >/etc/built", "cd /etc && test -e motd"]
      })
      const guest = yield* boot(yield* resolve(image))
      assert.strictEqual(
        yield* guest.run("id -un; hostname; cat /etc/motd /etc/built /usr/lib/greeting"),
        "root\nweb\nhello\nbuilt\nunder a link\n"
      )
      assert.strictEqual(yield* guest.run("systemctl is-system-running --wait"), "running\n")
      assert.strictEqual(yield* guest.run("systemctl is-active beat; systemctl is-enabled unasked"), "active\nstatic\n")
      assert.strictEqual(
        yield* guest.run("systemctl show -p Result,ExecMainStatus asked; id -nG alice"),
        "Result=success\nExecMainStatus=0\nalice games made-here\n"
      )
      assert.strictEqual(
        yield* guest.run(
          "id -gn staff; id -nG www-data; getent group made-here | cut -d: -f4; passwd -S root | cut -d' ' -f2"
        ),
        "staff\nwww-data games made-here\nalice,www-data\nP\n"
      )
      assert.strictEqual(
        yield* guest.run("stat -c '%a %U:%G' /opt/run; su -s /bin/sh alice -c /opt/run"),
        "4755 alice:games\nrun as alice\n"
      )
      assert.strictEqual(
        yield* guest.run("test -L /lib && command -v nc && test -c /dev/net/tun && modprobe dummy && echo ok"),
        "/usr/bin/nc\nok\n"
      )
      assert.match(yield* guest.run("cat /etc/machine-id"), /^[0-9a-f]{32}\n$/)
      assert.strictEqual(
        yield* guest.run("ls -d /.vmtest* /etc/apt/preferences.d/* 2>/dev/null; ls /var/lib/apt/lists"),
        ""
      )
      yield* guest.type("poweroff")
      assert.strictEqual((yield* guest.exited).exitCode, 0)
    }).pipe(Effect.scoped)
  )

  it.live("takes the power button; each boot starts afresh, as a machine of its own", () =>
    Effect.gen(function* () {
      const image = yield* resolve(Image.debian())
      const first = yield* boot(image)
      const id = yield* first.run("cat /etc/machine-id; touch /etc/mark")
      yield* first.run("systemctl is-system-running --wait")
      yield* first.powerButton
      assert.strictEqual((yield* first.exited).exitCode, 0)
      const second = yield* boot(image)
      assert.notStrictEqual(yield* second.run("cat /etc/machine-id; ls /etc/mark 2>/dev/null"), id)
      yield* second.type("exit")
      yield* second.ready
      yield* second.type("systemctl reboot")
      assert.strictEqual((yield* second.exited).exitCode, 0)
    }).pipe(Effect.scoped)
  )

  it.live("is refused in apt's words when a package does not exist, before anything is built", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const error = yield* resolve(Image.debian({ packages: ["curl", "no-such-package-here"] }), {
        onProgress: ({ step }) => Effect.sync(() => steps.push(step))
      }).pipe(Effect.flip)
      assert.strictEqual(error._tag, "UnknownPackage")
      assert.include(error.message, "E: Unable to locate package no-such-package-here")
      assert.include(error.message, "unknown package: no-such-package-here\n")
      assert.deepStrictEqual(
        steps.filter((step) => step !== "fetching package lists"),
        []
      )
    })
  )

  const failures: ReadonlyArray<readonly [string, Image.DebianOptions, string]> = [
    [
      "a setup command",
      { setup: ["true", "echo first; echo I cannot >&2; exit 3"] },
      "setup command 2 (echo first; echo I cannot >&2; exit 3) failed with exit code 3: I cannot"
    ],
    [
      "a user's number that Debian has given away",
      { users: { alice: { uid: 33 } } },
      "making the user alice failed with exit code 4: useradd: UID 33 is not unique"
    ],
    [
      "an owner who is not there",
      { files: { "/opt/x": { content: "", owner: "alcie" } } },
      "giving /opt/x to alcie failed with exit code 1: chown: invalid user: ‘alcie’"
    ]
  ]
  for (const [what, options, cause] of failures) {
    it.live(`fails with the cause first when it is ${what}, and keeps the whole output in a file that it names`, () =>
      Effect.gen(function* () {
        const image = Image.debian(options)
        const error = yield* Effect.flip(resolve(image))
        assert.strictEqual(error._tag, "BuildFailed")
        const [head = "", ...more] = error.message.split("\n")
        assert.strictEqual(head, `image ${Image.describe(image)}: building the image: ${cause}`)
        if (error._tag !== "BuildFailed") return
        assert.strictEqual(more.at(-1), `the whole output is in ${error.log}`)
        assert.include(Fs.readFileSync(error.log, "utf8"), cause.split(": ").at(-1) ?? "")
        assert.isBelow(more.length, 5, error.message)
        Fs.rmSync(error.log)
      })
    )
  }
})

describe("a store of its own", () => {
  const before = process.env.XDG_CACHE_HOME
  let base = ""
  const images = () => Path.join(base, "vmtest", "images")
  const left = () => Fs.readdirSync(Path.join(images(), "tmp"))

  beforeAll(() => {
    // Every tool that builds must cope with where the cache is.
    base = Fs.mkdtempSync(Path.join(Os.tmpdir(), `vmtest-images-%2F '"[1],\\-`))
    process.env.XDG_CACHE_HOME = base
  })
  afterAll(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = before
    Fs.rmSync(base, { recursive: true, force: true })
  })

  it.live("leaves nothing of a build that is killed to the next one, and no lock", () =>
    Effect.gen(function* () {
      const builder = yield* HostProcess.spawn({
        command: process.execPath,
        args: [fileURLToPath(new URL("images/builder.ts", import.meta.url))],
        stdout: { file: Path.join(base, "said") },
        stderr: { file: Path.join(base, "said") }
      })
      const said = () =>
        Fs.existsSync(Path.join(base, "said")) ? Fs.readFileSync(Path.join(base, "said"), "utf8") : ""
      while (!said().includes("unpacking the kernel")) {
        if (builder.status() !== undefined) assert.fail(`the builder ended early: ${said()}`)
        yield* Effect.sleep("5 millis")
      }
      process.kill(builder.pid, "SIGKILL")
      yield* builder.exited
      assert.strictEqual(left().length, 1)
      yield* resolve(Image.tiny())
      assert.deepStrictEqual(left(), [])
      assert.deepStrictEqual(
        Fs.readdirSync(Path.join(images(), "locks")).filter(
          (name) => !/^([0-9a-f-]{20,41}|apt)\.(use|build)$/.test(name)
        ),
        []
      )
    }).pipe(Effect.scoped)
  )

  it.live("leaves nothing of a build that is interrupted", () =>
    Effect.gen(function* () {
      const unpacking = yield* Deferred.make<void>()
      const onProgress = ({ step }: ImageProgress) =>
        step === "unpacking the kernel" ? Deferred.succeed(unpacking, undefined) : Effect.void
      const build = yield* Effect.forkChild(resolve(Image.tiny({ kernelParameters: "stop" }), { onProgress }))
      yield* Deferred.await(unpacking)
      yield* Fiber.interrupt(build)
      assert.deepStrictEqual(left(), [])
    })
  )

  it.live("builds once when two ask at the same time", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const onProgress = ({ step }: ImageProgress) => Effect.sync(() => steps.push(step))
      const image = Image.tiny({ kernelParameters: "race" })
      const [one, other] = yield* Effect.all([resolve(image, { onProgress }), resolve(image, { onProgress })], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(one, other)
      assert.strictEqual(steps.filter((step) => step === "packing the guest").length, 1)
      assert.include(steps, "waiting for another build of this image")
    })
  )

  it.live("builds a damaged image again, the same from the same packages", () =>
    Effect.gen(function* () {
      const image = yield* resolve(Image.tiny())
      Fs.chmodSync(image.kernel, 0o644)
      Fs.writeFileSync(image.kernel, Buffer.alloc(Fs.statSync(image.kernel).size))
      const again = yield* resolve(Image.tiny())
      assert.strictEqual(again.digest, image.digest)
      assert.strictEqual(Fs.readFileSync(again.kernel).toString("latin1", 1, 4), "ELF")
    })
  )

  it.live("renews an image when asked to, and says that it is younger", () =>
    Effect.gen(function* () {
      const old = yield* resolve(Image.tiny())
      const renewed = yield* resolve(Image.tiny(), { refresh: true })
      assert.isAbove(renewed.builtAt, old.builtAt)
      assert.strictEqual((yield* resolve(Image.tiny())).builtAt, renewed.builtAt)
    })
  )

  it.live("says that the disk is full, and leaves nothing of the build", (context) =>
    Effect.gen(function* () {
      const small = Path.join(base, "small")
      Fs.mkdirSync(small)
      const mounted = ChildProcess.spawnSync("mount", ["-t", "tmpfs", "-o", "size=120m", "tmpfs", small])
      if (mounted.status !== 0) context.skip(`no small file system can be mounted: ${mounted.stderr ?? mounted.error}`)
      yield* Effect.addFinalizer(() => Effect.sync(() => ChildProcess.spawnSync("umount", [small])))
      process.env.XDG_CACHE_HOME = small
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          process.env.XDG_CACHE_HOME = base
        })
      )
      const error = yield* Effect.flip(resolve(Image.tiny()))
      assert.strictEqual(error._tag, "DiskFull")
      assert.include(error.message, small)
      assert.deepStrictEqual(Fs.readdirSync(Path.join(small, "vmtest", "images", "tmp")), [])
    }).pipe(Effect.scoped)
  )
})
