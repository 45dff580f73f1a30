// `npm run setup [-- --test]`: brings a checkout from nothing to working, and does nothing when there is nothing to do.
// 1. system packages, with apt;  2. node_modules, with npm ci;  3. dist, when a source changed.
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { buildWhenStale } from "./build.mjs"
import { hasProgram, localEnvironment, main, root, run, Stop, systemEnvironment } from "./lib.mjs"
import { runtime, testing } from "./system-packages.mjs"

const installSystemPackages = (packages, log) => {
  const missing = packages.filter((item) => !item.present())
  if (missing.length === 0) return
  const names = missing.map((item) => item.package)
  log("setup: missing packages:")
  for (const item of missing) log(`setup:   ${item.package} (${item.why})`)
  if (!hasProgram("apt-get")) {
    throw new Stop(
      `setup: apt-get was not found. Install your system's packages for ${names.join(", ")}, then run this again.`
    )
  }
  const isRoot = process.getuid() === 0
  if (!isRoot && !hasProgram("sudo")) {
    throw new Stop(
      `setup: installing packages needs root, and sudo was not found. As root, run: apt-get update && apt-get install --no-install-recommends ${names.join(" ")}`
    )
  }
  const asRoot = isRoot ? ["env"] : ["sudo", "env"]
  const apt = (...args) => {
    const [command, ...rest] = [...asRoot, "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", ...args]
    log(`setup: ${[command, ...rest].join(" ")}`)
    return run(command, rest)
  }
  // A fresh machine has no package lists; a stale list names files that are gone: refresh first, always.
  if (apt("update") !== 0) log("setup: apt-get update failed; using the existing package lists")
  if (apt("install", "--no-install-recommends", ...names) !== 0) {
    throw new Stop(`setup: apt-get could not install ${names.join(" ")}`)
  }
  const still = missing.filter((item) => !item.present())
  if (still.length > 0)
    throw new Stop(`setup: installed, but still not found: ${still.map((item) => item.package).join(", ")}`)
}

/** What differs between the lock file and what is installed, or undefined. Packages for other platforms are optional. */
const staleModules = () => {
  const installedLock = join(root, "node_modules", ".package-lock.json")
  if (!existsSync(installedLock)) return "node_modules is missing"
  const read = (path) => JSON.parse(readFileSync(path, "utf8")).packages
  const wanted = read(join(root, "package-lock.json"))
  const installed = read(installedLock)
  const wrong = Object.entries(wanted).find(
    ([path, item]) =>
      path !== "" && !(installed[path] === undefined && item.optional) && installed[path]?.version !== item.version
  )
  if (wrong) return `${wrong[0]} must have version ${wrong[1].version}`
  const works = spawnSync(join(root, "node_modules", ".bin", "node"), ["-e", "0"], { stdio: "ignore" })
  return works.status === 0 ? undefined : "node_modules/.bin/node does not run"
}

const installModules = (log) => {
  const why = staleModules()
  if (why === undefined) return
  log(`setup: ${why}; running npm ci`)
  if (run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { env: systemEnvironment() }) !== 0)
    throw new Stop("setup: npm ci failed")
  const still = staleModules()
  if (still !== undefined) throw new Stop(`setup: after npm ci, ${still}`)
}

/** Does all of it. `test`: also installs what only the tests need. */
export const setup = ({ test, log }) => {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Stop(`setup: vmtest needs Linux on x86_64, found ${process.platform} on ${process.arch}`)
  }
  installSystemPackages(test ? [...runtime, ...testing] : runtime, log)
  installModules(log)
  buildWhenStale({ env: localEnvironment(), log })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(() => {
    setup({ test: process.argv.includes("--test"), log: (line) => process.stdout.write(`${line}\n`) })
    process.stdout.write("setup: ready\n")
  })
}
