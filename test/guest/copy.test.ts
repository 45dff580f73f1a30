import { execFileSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Copy from "../../src/guest/Copy.ts"
import * as File from "../../src/guest/File.ts"
import * as HostProcess from "../../src/host/HostProcess.ts"
import type { CollectOptions, ShellService } from "../../src/transport/Shell.ts"
import { guestOn, hostShell, shellOf } from "../machine/support.ts"

/** A guest whose every command says these bytes. */
const saying = (bytes: Uint8Array, exitCode = 0, stderr = ""): ShellService => ({
  ...shellOf(() => Effect.succeed({ exitCode, stdout: "", stderr })),
  executeStream: () =>
    Stream.make(
      { _tag: "Stdout", bytes } as const,
      { _tag: "Stderr", bytes: Buffer.from(stderr) } as const,
      { _tag: "Exit", exitCode } as const
    )
})

const place = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-copy-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A guest that is a bash of the host, after these words. */
const bashAfter = (words: string) =>
  Effect.map(
    guestOn(
      shellOf((command, options) =>
        Effect.scoped(
          Effect.gen(function* () {
            const args = ["-c", `${words}\nset -euo pipefail\n${command}`]
            const bash = yield* HostProcess.spawn({
              command: "bash",
              args,
              stdin: "pipe",
              stdout: "pipe",
              stderr: "pipe"
            })
            const stdin = options?.stdin as Stream.Stream<Uint8Array> | undefined
            yield* Stream.runForEach(stdin ?? Stream.empty, bash.write).pipe(
              Effect.andThen(bash.endInput),
              Effect.ignore,
              Effect.forkScoped
            )
            let stderr = ""
            yield* Stream.runForEach(bash.stderr, (bytes) => {
              stderr += Buffer.from(bytes).toString()
              return (options as CollectOptions | undefined)?.stream?.({ _tag: "Stderr", bytes }) ?? Effect.void
            })
            return { exitCode: (yield* bash.exited).exitCode ?? 137, stdout: "", stderr }
          })
        ).pipe(Effect.orDie)
      )
    ),
    ({ guest }) => Copy.make(guest)
  )

/** Where no file may become larger than 64 KiB: what a full disk is, less its reason. */
const cramped = bashAfter("trap '' XFSZ; ulimit -f 64")

/** A tar that does not say it is GNU's, as that of busybox. */
const otherTar = `tar() { [ "$1" != --version ] && command tar "$@"; }`

/** What `tar` of the host makes of these words, in a folder. */
const archive = (folder: string, ...args: ReadonlyArray<string>) =>
  execFileSync("tar", ["-C", folder, "-cPf", "-", ...args], { maxBuffer: 1 << 28 })

/** A machine that sends these bytes, its output folder, and a neighbour of that folder that must stay empty. */
const machine = Effect.fnUntraced(function* (bytes: (folder: string) => Uint8Array) {
  const base = yield* place
  const source = join(base, "source")
  const outside = join(base, "outside")
  const output = join(base, "output")
  for (const folder of [source, outside]) mkdirSync(folder)
  const { guest } = yield* guestOn(saying(bytes(source)), { output })
  return { copies: Copy.make(guest), output, outside, source }
})

describe("a copy from a machine", () => {
  it.live("keeps modes, links, empty folders, and what may not be written to", () =>
    Effect.gen(function* () {
      const { copies, output } = yield* machine((source) => {
        mkdirSync(join(source, "tree", "empty"), { recursive: true })
        writeFileSync(join(source, "tree", "run"), "x", { mode: 0o750 })
        symlinkSync("/nowhere", join(source, "tree", "link"))
        chmodSync(join(source, "tree"), 0o555)
        return archive(source, "./tree")
      })
      assert.strictEqual(yield* copies.copyFromMachine("/srv/tree/", "a/b"), join(output, "a/b/tree"))
      const tree = join(output, "a/b/tree")
      assert.strictEqual(statSync(tree).mode & 0o777, 0o555)
      assert.strictEqual(statSync(join(tree, "run")).mode & 0o777, 0o750)
      assert.isTrue(lstatSync(join(tree, "link")).isSymbolicLink())
      assert.deepStrictEqual(readdirSync(join(tree, "empty")), [])
      // A second copy takes the first one's place, and nothing is left beside it.
      yield* copies.copyFromMachine("/srv/tree", "a/b")
      assert.deepStrictEqual(readdirSync(join(output, "a/b")), ["tree"])
    })
  )

  for (const folder of ["..", "../..", "/etc", "a/../../x"]) {
    it.live(`is refused into ${folder}, and nothing is written`, () =>
      Effect.gen(function* () {
        const { copies, output } = yield* machine(() => new Uint8Array())
        const error = yield* Effect.flip(copies.copyFromMachine("/etc/hosts", folder))
        assert.strictEqual(error._tag, "HostFileError")
        assert.include(error.message, "outside the output folder")
        assert.isFalse(existsSync(output))
      })
    )
  }

  for (const source of ["/", "/..", "/srv/.."]) {
    it.live(`is refused of ${source}, which has no name`, () =>
      Effect.gen(function* () {
        const { copies, output } = yield* machine(() => new Uint8Array())
        assert.include((yield* Effect.flip(copies.copyFromMachine(source))).message, "has no name of its own")
        assert.isFalse(existsSync(output))
      })
    )
  }

  it.live("does not go through a link that an earlier copy left", () =>
    Effect.gen(function* () {
      const { copies, output, outside } = yield* machine((source) => {
        mkdirSync(join(source, "tree"))
        symlinkSync("../../outside", join(source, "tree", "door"))
        symlinkSync("../../outside/none", join(source, "tree", "trap"))
        return archive(source, "./tree")
      })
      yield* copies.copyFromMachine("/tree")
      assert.isTrue(lstatSync(join(output, "tree", "door")).isSymbolicLink())
      for (const folder of ["tree/door", "tree/door/x", "tree/trap", "tree/trap/x"]) {
        assert.strictEqual((yield* Effect.flip(copies.copyFromMachine("/tree", folder)))._tag, "HostFileError")
      }
      assert.deepStrictEqual(readdirSync(outside), [])
    })
  )

  const hostile: Readonly<Record<string, (source: string) => Uint8Array>> = {
    "a name with ..": (source) => {
      writeFileSync(join(source, "evil"), "x")
      return archive(source, "--transform=s,^,../../outside/,", "evil")
    },
    "a link, then a file behind it": (source) => {
      symlinkSync("../../outside", join(source, "door"))
      mkdirSync(join(source, "inner"))
      writeFileSync(join(source, "inner", "evil"), "x")
      const file = join(source, "a.tar")
      execFileSync("tar", ["-C", source, "-cPf", file, "door"])
      execFileSync("tar", ["-C", source, "-rPf", file, "--transform=s,^inner,door,", "inner/evil"])
      return readFileSync(file)
    },
    "a link instead of a file": (source) => {
      symlinkSync("/etc/passwd", join(source, "file"))
      return archive(source, "./file")
    },
    "two things": (source) => {
      writeFileSync(join(source, "one"), "x")
      writeFileSync(join(source, "two"), "x")
      return archive(source, "one", "two")
    },
    nothing: () => new Uint8Array(1024),
    "no archive at all": () => Buffer.from("hello".repeat(1000))
  }
  for (const [what, bytes] of Object.entries(hostile)) {
    it.live(`writes nothing when the guest sends ${what}`, () =>
      Effect.gen(function* () {
        const { copies, output, outside } = yield* machine(bytes)
        const error = yield* Effect.flip(copies.copyFromMachine("/srv/file"))
        assert.strictEqual(error._tag, "HostFileError")
        assert.include(error.message, " on the host ")
        assert.deepStrictEqual(readdirSync(outside), [])
        assert.deepStrictEqual(readdirSync(output), [])
      })
    )
  }

  it.live("keeps an absolute name inside", () =>
    Effect.gen(function* () {
      const { copies, output, outside } = yield* machine((source) => {
        writeFileSync(join(source, "evil"), "x")
        return archive(source, `--transform=s,^,${join(source, "../outside")}/,`, "evil")
      })
      yield* copies.copyFromMachine("/srv/file")
      assert.deepStrictEqual(readdirSync(outside), [])
      assert.deepStrictEqual(readdirSync(output), ["file"])
    })
  )

  it.live("takes no other user's rights from the guest", () =>
    Effect.gen(function* () {
      const { copies, output } = yield* machine((source) => {
        mkdirSync(join(source, "tree"))
        writeFileSync(join(source, "tree", "sudo"), "x")
        chmodSync(join(source, "tree", "sudo"), 0o6755)
        return archive(source, "./tree")
      })
      yield* copies.copyFromMachine("/tree")
      assert.strictEqual(statSync(join(output, "tree", "sudo")).mode & 0o7777, 0o755)
    })
  )

  it.live("has names that are not UTF-8, which may not be written to either", () =>
    Effect.gen(function* () {
      const { copies, output } = yield* machine((source) => {
        execFileSync("bash", ["-c", "mkdir -p tree/$'caf\\351'; touch tree/$'caf\\351'/$'\\377'; chmod 0500 tree/*"], {
          cwd: source
        })
        return archive(source, "./tree")
      })
      for (let copy = 1; copy <= 2; copy++) yield* copies.copyFromMachine("/tree")
      const [name] = readdirSync(join(output, "tree"), { encoding: "buffer" })
      assert.deepStrictEqual(name, Buffer.from("caf\xe9", "latin1"))
    })
  )

  it.live("keeps holes where the guest has GNU tar", () =>
    Effect.gen(function* () {
      const base = yield* place
      const size = 8 << 20
      mkdirSync(join(base, "tree"))
      writeFileSync(join(base, "tree", "disk"), "first")
      truncateSync(join(base, "tree", "disk"), size)
      const output = join(base, "output")
      const shell: ShellService = {
        ...shellOf(() => Effect.never),
        executeStream: (command) => Stream.make(...of(command))
      }
      const of = (command: string) => {
        const bytes = execFileSync("bash", ["-c", `set -euo pipefail\n${command}`], { maxBuffer: 1 << 28 })
        return [{ _tag: "Stdout", bytes } as const, { _tag: "Exit", exitCode: 0 } as const] as const
      }
      const { guest } = yield* guestOn(shell, { output })
      const copies = Copy.make(guest)
      yield* copies.copyFromMachine(join(base, "tree"))
      yield* copies.copyFromMachine(join(base, "tree", "disk"))
      for (const copy of [join(output, "tree", "disk"), join(output, "disk")]) {
        const { blocks, size: copied } = statSync(copy)
        assert.strictEqual(copied, size)
        assert.isBelow(blocks * 512, size / 2)
        assert.strictEqual(readFileSync(copy).subarray(0, 6).toString(), "first\0")
      }
    })
  )

  it.live("is whole although the tree changed meanwhile, and nothing where the guest's tar failed", () =>
    Effect.gen(function* () {
      const base = yield* place
      writeFileSync(join(base, "log"), "line")
      const bytes = archive(base, "./log")
      const output = join(base, "output")
      const busy = yield* guestOn(saying(bytes, 1, "tar: ./log: file changed as we read it\n"), { output })
      yield* Copy.make(busy.guest).copyFromMachine("/var/log")
      assert.strictEqual(readFileSync(join(output, "log"), "utf8"), "line")
      rmSync(output, { recursive: true })
      const broken = yield* guestOn(saying(bytes, 2, "tar: ./log: Cannot open: Input/output error\n"), { output })
      const error = yield* Effect.flip(Copy.make(broken.guest).copyFromMachine("/var/log"))
      assert.strictEqual(error._tag, "CopyFailed")
      assert.include(
        error.message,
        `could not copy "/var/log" from ${broken.guest.name}: ./log: Cannot open: Input/output error`
      )
      assert.deepInclude(error, { direction: "from", source: "/var/log", target: join(output, "log"), exitCode: 2 })
      assert.deepStrictEqual(readdirSync(output), [])
    })
  )
})

describe("a copy from the host", () => {
  const toGuest = Effect.map(guestOn(shellOf(() => Effect.die("nothing is to be sent"))), ({ guest }) =>
    Copy.make(guest)
  )

  it.live("says what is missing, what is no file, and that a target is wanted", () =>
    Effect.gen(function* () {
      const base = yield* place
      const copies = yield* toGuest
      assert.include(
        (yield* Effect.flip(copies.copyFromHost(join(base, "no"), "/x"))).message,
        "no on the host does not exist"
      )
      execFileSync("mkfifo", [join(base, "pipe")])
      const pipe = yield* Effect.flip(copies.copyFromHost(join(base, "pipe"), "/x"))
      assert.include(pipe.message, "is neither a file nor a folder")
      assert.include((yield* Effect.flip(copies.copyFromHost(base, ""))).message, "target must be a path in the guest")
      assert.include((yield* Effect.flip(copies.copyFromHost("", "/x"))).message, "source must be a path on the host")
    })
  )

  it.live("loses nothing when the guest is slow to take it", () =>
    Effect.gen(function* () {
      const base = yield* place
      writeFileSync(join(base, "file"), "what is in it")
      let taken = ""
      const { guest } = yield* guestOn(
        shellOf((_, options) =>
          Effect.gen(function* () {
            yield* Effect.sleep("500 millis")
            const stdin = options?.stdin as Stream.Stream<Uint8Array>
            const first = yield* Stream.runHead(Stream.tap(stdin, () => Effect.sleep("200 millis")))
            if (first._tag === "Some") taken = Buffer.from(first.value).toString("latin1")
            return { exitCode: 0, stdout: "", stderr: "" }
          })
        )
      )
      yield* Copy.make(guest).copyFromHost(join(base, "file"), "/x")
      assert.include(taken, "what is in it")
    })
  )

  it.live("keeps a lone file's bytes, mode and time, below a folder and under another name", () =>
    Effect.gen(function* () {
      const base = yield* place
      const source = join(base, "a 'file'")
      writeFileSync(source, "what is in it")
      chmodSync(source, 0o4751)
      utimesSync(source, 1000, 1234)
      mkdirSync(join(base, "folder"))
      const copies = yield* cramped
      yield* copies.copyFromHost(source, join(base, "folder"))
      yield* copies.copyFromHost(source, join(base, "new", "name"))
      yield* copies.copyFromHost(source, `${join(base, "fresh", "folder")}/`)
      const places = [
        ["folder", "a 'file'"],
        ["new", "name"],
        ["fresh", "folder", "a 'file'"]
      ]
      for (const copy of places.map((place) => join(base, ...place))) {
        assert.strictEqual(readFileSync(copy, "utf8"), "what is in it")
        assert.strictEqual(statSync(copy).mode & 0o7777, 0o4751)
        assert.strictEqual(statSync(copy).mtimeMs, 1_234_000)
      }
      assert.deepStrictEqual(readdirSync(join(base, "new")), ["name"])
    })
  )

  it.live(
    "goes where a link leads that is in its place, as writeFile does, but to no device and no folder that there is not",
    () =>
      Effect.gen(function* () {
        const base = yield* place
        const inside = (name: string) => join(base, "guest", name)
        mkdirSync(inside("real"), { recursive: true })
        writeFileSync(inside("real/file\n"), "old")
        const links = { file: "real/file\n", fresh: "real/fresh", masked: "/dev/null", lost: "none/file", loop: "loop" }
        for (const [name, to] of Object.entries(links)) symlinkSync(to, inside(name))
        writeFileSync(join(base, "file"), "new")
        const copies = yield* cramped
        for (const name of Object.keys(links)) yield* copies.copyFromHost(join(base, "file"), inside(name))
        const isLink = (name: string) => lstatSync(inside(name)).isSymbolicLink()
        assert.deepStrictEqual(Object.keys(links).filter(isLink), ["file", "fresh"])
        for (const name of Object.keys(links)) assert.strictEqual(readFileSync(inside(name), "utf8"), "new")
        assert.deepStrictEqual(readdirSync(inside("real")).sort(), ["file\n", "fresh"])
        const { guest } = yield* guestOn(hostShell("bash"))
        yield* File.make(guest).writeFile(inside("file"), "newer")
        assert.strictEqual(readFileSync(inside("real/file\n"), "utf8"), "newer")
        // Into a folder, where a link has its name.
        yield* copies.copyFromHost(join(base, "file"), join(base, "guest"))
        assert.strictEqual(readFileSync(inside("real/file\n"), "utf8"), "new")
        assert.isTrue(isLink("file"))
      })
  )

  it.live("of a tree leaves the folders that are there as they are, and links to them", () =>
    Effect.gen(function* () {
      const base = yield* place
      const guest = join(base, "guest")
      mkdirSync(join(guest, "usr", "lib"), { recursive: true })
      mkdirSync(join(guest, "tmp"))
      chmodSync(guest, 0o751)
      chmodSync(join(guest, "tmp"), 0o1777)
      symlinkSync("usr/lib", join(guest, "lib"))
      for (const folder of ["tmp", "lib", "new"]) {
        mkdirSync(join(base, "tree", folder), { recursive: true, mode: 0o700 })
        writeFileSync(join(base, "tree", folder, "file"), folder)
      }
      chmodSync(join(base, "tree"), 0o700)
      const copies = yield* cramped
      yield* copies.copyFromHost(join(base, "tree"), guest)
      const modes = [".", "tmp", "new"].map((name) => statSync(join(guest, name)).mode & 0o7777)
      assert.deepStrictEqual(modes, [0o751, 0o1777, 0o700])
      assert.isTrue(lstatSync(join(guest, "lib")).isSymbolicLink())
      assert.strictEqual(readFileSync(join(guest, "usr", "lib", "file"), "utf8"), "lib")
      yield* copies.copyFromHost(join(base, "tree"), join(base, "other"))
      assert.strictEqual(statSync(join(base, "other")).mode & 0o7777, 0o700)
    })
  )

  it.live("leaves nothing of a lone file when the guest ends it half-way", () =>
    Effect.gen(function* () {
      const base = yield* place
      writeFileSync(join(base, "file"), "what is in it")
      const { guest } = yield* guestOn(
        shellOf((command) =>
          HostProcess.run({
            command: "bash",
            // Its process group, as the transport ends a command.
            args: [
              "-c",
              `set -m; (${command}) < <(printf half; sleep 60) & sleep 1; ls -A ${base}/guest; kill -TERM -$!; wait $!`
            ]
          }).pipe(
            Effect.orDie,
            Effect.map(({ exitCode, stderr, stdout }) => ({ exitCode: exitCode ?? 137, stdout, stderr }))
          )
        )
      )
      const error = yield* Effect.flip(Copy.make(guest).copyFromHost(join(base, "file"), join(base, "guest", "x")))
      assert.include(String("stdout" in error ? error.stdout : error.message), ".vmtest-copy-")
      assert.deepStrictEqual(readdirSync(join(base, "guest")), [])
    })
  )

  it.live("ends at the first byte that cannot be kept, alone and in a tree", () =>
    Effect.gen(function* () {
      const base = yield* place
      mkdirSync(join(base, "tree"))
      writeFileSync(join(base, "tree", "endless"), "")
      // Far more than can be sent while the test lasts, and all of it a hole.
      truncateSync(join(base, "tree", "endless"), 1024 ** 4)
      mkdirSync(join(base, "guest"))
      const copies = yield* bashAfter(`trap '' XFSZ; ulimit -f 64\n${otherTar}`)
      const alone = yield* Effect.flip(copies.copyFromHost(join(base, "tree", "endless"), join(base, "guest", "file")))
      assert.strictEqual(alone._tag, "CopyFailed")
      assert.include(alone.message, "File too large")
      const [from, to] = [join(base, "tree", "endless"), join(base, "guest", "file")]
      assert.deepInclude(alone, { direction: "to", source: from, target: to })
      assert.match(alone.message, /^could not copy "\/.*\/endless" to "\/.*\/file" on \w+: .*File too large$/)
      assert.deepStrictEqual(readdirSync(join(base, "guest")), [])
      const tree = yield* Effect.flip(copies.copyFromHost(join(base, "tree"), join(base, "guest")))
      assert.strictEqual(tree._tag, "CopyFailed")
      assert.match(tree.message, /endless: (Wrote only|Cannot write)/)
      assert.deepInclude(tree, { source: join(base, "tree"), target: join(base, "guest"), exitCode: 2 })
      assert.deepStrictEqual(readdirSync(join(base, "guest")), ["endless"])
    })
  )

  it.live("ends at the first byte that cannot be kept of what has holes, too", () =>
    Effect.gen(function* () {
      const base = yield* place
      const file = join(base, "tree", "disk")
      mkdirSync(join(base, "tree"))
      writeFileSync(file, Buffer.alloc(1 << 20, "x"))
      truncateSync(file, 1024 ** 4)
      mkdirSync(join(base, "guest"))
      const copies = yield* cramped
      const alone = yield* Effect.flip(copies.copyFromHost(file, join(base, "guest", "file")))
      assert.strictEqual(alone._tag, "CopyFailed")
      assert.match(alone.message, /File too large/)
      assert.isFalse(existsSync(join(base, "guest", "file")))
      const tree = yield* Effect.flip(copies.copyFromHost(join(base, "tree"), join(base, "guest")))
      assert.strictEqual(tree._tag, "CopyFailed")
      assert.match(tree.message, /File too large/)
    })
  )

  for (const [tar, words, holes] of [
    ["GNU tar", "true", true],
    ["another", otherTar, false]
  ] as const) {
    it.live(`${holes ? "keeps" : "fills"} holes, alone and in a tree, where the guest has ${tar}`, () =>
      Effect.gen(function* () {
        const base = yield* place
        const size = 8 << 20
        mkdirSync(join(base, "tree"))
        for (const source of [join(base, "tree", "-a 'disk'"), join(base, "file")]) {
          writeFileSync(source, "first", { mode: 0o640 })
          truncateSync(source, size)
          utimesSync(source, 1000, 1234)
        }
        symlinkSync("tree/-a 'disk'", join(base, "link"))
        const copies = yield* bashAfter(words)
        yield* copies.copyFromHost(join(base, "tree"), join(base, "guest"))
        yield* copies.copyFromHost(join(base, "link"), join(base, "guest/"))
        yield* copies.copyFromHost(join(base, "file"), join(base, "guest/"))
        for (const name of ["-a 'disk'", "link", "file"]) {
          const { blocks, mode, mtimeMs, size: copied } = statSync(join(base, "guest", name))
          assert.deepStrictEqual([copied, mode & 0o7777, mtimeMs], [size, 0o640, 1_234_000])
          assert.strictEqual(
            readFileSync(join(base, "guest", name))
              .subarray(0, 6)
              .toString(),
            "first\0"
          )
          if (holes) assert.isBelow(blocks * 512, size / 2)
          else assert.isAtLeast(blocks * 512, size)
        }
        assert.deepStrictEqual(readdirSync(join(base, "guest")).sort(), ["-a 'disk'", "file", "link"])
      })
    )
  }

  it.live("says what cannot be read, alone and in a tree", () =>
    Effect.gen(function* () {
      const base = yield* place
      chmodSync(base, 0o755)
      mkdirSync(join(base, "tree"))
      writeFileSync(join(base, "tree", "secret"), "x", { mode: 0o200 })
      const fixture = fileURLToPath(new URL("fixtures/unreadable.ts", import.meta.url))
      const paths = [join(base, "tree", "secret"), join(base, "tree")]
      const [alone, tree] = JSON.parse(
        execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", fixture, ...paths], {
          encoding: "utf8"
        })
      )
      assert.strictEqual(alone.tag, "HostFileError")
      assert.include(alone.message, "permission denied")
      assert.strictEqual(tree.tag, "HostFileError")
      assert.include(tree.message, "secret")
    })
  )
})
