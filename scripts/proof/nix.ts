/**
 * The long proof of the flake: its package from the archives of npm's registry, checked against the lock file's digests, and tests
 * of NixOS that run with it inside builds. With the Nix of this host, and with that of Debian 13 from a system of its own (as root).
 *
 * `--only=host` or `--only=trixie` does one of them. With `VMTEST_NIXPKGS_LIB`, a folder with nixpkgs' own `lib`, the modules of the tests
 * are evaluated by that.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import * as Effect from "effect/Effect"
import * as NixHost from "../../integration-tests/nixHost.ts"
import * as Apt from "../../src/images/internal/apt.ts"
import { sourcesText } from "../../src/images/internal/aptSources.ts"

const only = process.argv.flatMap((arg) => (arg.startsWith("--only=") ? [arg.slice("--only=".length)] : []))
let failures = 0

const say = (ok: boolean, text: string, log = ""): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
  if (!ok) console.log(log)
}

const timed = async <A>(body: () => Promise<A>): Promise<readonly [A, string]> => {
  const from = performance.now()
  const result = await body()
  return [result, `${((performance.now() - from) / 1000).toFixed(1)} s`]
}

/** What the machine's npm says: the checkout's Node would have it look for its settings elsewhere. */
const said = (command: string, ...args: ReadonlyArray<string>) => {
  const path = (process.env.PATH ?? "").split(":").filter((folder) => !folder.endsWith("node_modules/.bin"))
  return execFileSync(command, args, { encoding: "utf8", env: { ...process.env, PATH: path.join(":") } }).trim()
}

/** This host's npm, and what it is told of its registry. */
const registryFor = (nix: NixHost.Nix): NixHost.Stub => {
  const folder = dirname(dirname(realpathSync(said("which", "npm"))))
  const cafile = said("npm", "config", "get", "cafile")
  return {
    npm: join(nix.copy(folder, "npm"), "bin", "npm-cli.js"),
    registry: said("npm", "config", "get", "registry"),
    cafile: cafile === "null" ? "" : nix.copy(realpathSync(cafile), "certificates.pem")
  }
}

const proveWith = async (nix: NixHost.Nix) => {
  const version = (await nix.run("--version")).stdout.trim()
  const host = { ...(await NixHost.prepare(nix)), ...registryFor(nix) }
  const real = process.env.VMTEST_NIXPKGS_LIB
  const releases = {
    current: nix.stub("current", host, real),
    old: nix.stub("old", { ...host, hasDriver: false }, real)
  }

  const [package_, took] = await timed(() => nix.build(releases.current, "packages.x86_64-linux.default"))
  say(package_.out !== "", `${version}: the package from the registry's archives (${took})`, package_.log)
  if (package_.out === "") return
  for (const [release, stub] of Object.entries(releases)) {
    const [result, checked] = await timed(() => nix.run("flake", "check", "--no-build", ...nix.flake(stub)))
    say(result.exitCode === 0, `${version}: nix flake check, ${release} (${checked})`, result.stderr)
    for (const check of ["package", "python", "typescript"]) {
      const [{ log, out }, built] = await timed(() => nix.build(stub, `checks.x86_64-linux.${check}`))
      say(out !== "", `${version}: the check ${check}, ${release} (${built})`, log)
    }
  }
}

/** Runs a body with a Nix, and leaves nothing behind. */
const withNix = async (nix: NixHost.Nix, body: (nix: NixHost.Nix) => Promise<void>) => {
  try {
    await body(nix)
  } finally {
    nix.remove()
  }
}

/** Debian 13, and the command that runs a program in it as nobody, with a folder of the host at its place. */
const trixie = async () => {
  const system = mkdtempSync(join(tmpdir(), "vmtest-trixie-"))
  try {
    chmodSync(system, 0o755)
    const sources = join(system, "trixie.sources")
    writeFileSync(
      sources,
      sourcesText(await Effect.runPromise(Apt.mirrorsFor("trixie", undefined)), "trixie", Apt.keyring)
    )
    const packages = ["nix-bin", "qemu-system-x86", "vde2", "python3", "libstdc++6", "libatomic1"]
    const made = spawnSync(
      "mmdebstrap",
      ["--variant=apt", "--quiet", `--include=${packages.join(",")}`, "trixie", join(system, "root"), sources],
      { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] }
    )
    say(made.status === 0, "Debian 13 with its Nix", made.stderr)
    if (made.status !== 0) return
    const root = join(system, "root")
    await withNix(
      NixHost.make((folder) => {
        mkdirSync(join(root, folder), { recursive: true })
        const steps = `set -e; mount --rbind /dev ${root}/dev; mount -t proc proc ${root}/proc; mount --bind ${folder} ${root}${folder}`
        return ["unshare", "--mount", "sh", "-c", `${steps}; exec chroot --userspec=65534:65534 ${root} "$@"`, "sh"]
      }),
      proveWith
    )
  } finally {
    rmSync(system, { recursive: true, force: true })
  }
}

if (only.length === 0 || only.includes("host")) await withNix(NixHost.make(), proveWith)
if (only.length === 0 || only.includes("trixie")) {
  if (process.getuid?.() === 0) await trixie()
  else console.log("skip the Nix of Debian 13: its system is made and entered as root")
}
process.exitCode = failures > 0 ? 1 : 0
