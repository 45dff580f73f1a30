// `npm run build`: dist/ from src/ and web/: declarations by tsc, and by esbuild the modules, the launchers that the programs in bin start, and the viewer
// of reports.
// dist/.digest holds the digest of everything that went in, so that setup builds only what changed.
import { createHash } from "node:crypto"
import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { localEnvironment, main, root, run, Stop } from "./lib.mjs"

const digestFile = join(root, "dist", ".digest")

const inputs = () => [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "scripts/build.mjs",
  ...["src", "web"]
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1))
    .sort()
]

const digest = () => {
  const hash = createHash("sha256")
  for (const path of inputs())
    hash
      .update(path)
      .update("\0")
      .update(readFileSync(join(root, path)))
      .update("\0")
  return hash.digest("hex")
}

// Made beside dist and then put in its place, so that a command running from dist meanwhile never sees half of it.
const fresh = `dist.${process.pid}`

/** What the programs in bin start, from where, and the module that each loads once it has read its command line. */
const launchers = [
  ["src/cli/Launcher.ts", "cli/vmtest.js"],
  ["src/nixos/Launcher.ts", "nixos/nixos-test-driver.js"],
  ["src/nixos/SymbolsLauncher.ts", "nixos/generate-driver-symbols.js"]
]

const common = ["--bundle", "--platform=node", "--format=esm", "--target=node22", "--log-level=warning"]

const launcher = ([source, file]) => [
  "esbuild",
  [
    source,
    `--outfile=${fresh}/${file}`,
    ...common,
    "--external:./Main.ts",
    "--external:esbuild",
    "--minify-syntax",
    "--minify-whitespace"
  ]
]

/** The modules that something outside of them loads by its path: the exports of package.json, and what `OwnFiles.module` and the launchers name. */
const entries = [
  "index",
  "actors/index",
  "fleet/index",
  "vitest",
  "cli/Main",
  "cli/FleetExecutor",
  "cli/internal/evalScope",
  "nixos/Main",
  "nixos/VsockProxy"
]

/** Node takes half as long to load a few dozen chunks as it took for five hundred modules. Packages stay imports, so that users share them. */
const modules = [
  "esbuild",
  [
    ...entries.map((entry) => `src/${entry}.ts`),
    `--outdir=${fresh}`,
    "--outbase=src",
    "--chunk-names=chunks/[name]-[hash]",
    "--splitting",
    "--packages=external",
    "--sourcemap",
    "--sources-content=false",
    ...common
  ]
]

const steps = [
  [
    "tsc",
    ["--project", "tsconfig.build.json", "--outDir", fresh, "--incremental", "false", "--tsBuildInfoFile", "null"]
  ],
  modules,
  ...launchers.map(launcher),
  ["node", ["web/build.mjs", `${fresh}/report/viewer.bundle.js`]]
]

/**
 * Puts a folder in another's place. The old one is renamed away first, so that the place is empty for two system calls
 * and not for as long as a removal takes; when another build fills it in between, that one is replaced in its turn.
 */
export const replaceFolder = (path, place) => {
  const old = `${path}.old`
  for (let attempts = 1; ; attempts++) {
    try {
      renameSync(place, old)
    } catch (error) {
      if (error.code !== "ENOENT") throw error
    }
    try {
      renameSync(path, place)
      return
    } catch (error) {
      if (!["ENOTEMPTY", "EEXIST"].includes(error.code) || attempts === 100) throw error
    } finally {
      rmSync(old, { recursive: true, force: true })
    }
  }
}

const build = ({ env, log }) => {
  const before = digest()
  log("build: dist (declarations by tsc, modules by esbuild)")
  const path = join(root, fresh)
  try {
    for (const [command, args] of steps) {
      if (run(command, args, { env }) !== 0) throw new Stop(`build: ${command} failed`)
    }
    for (const [, name] of launchers) {
      const file = join(path, name)
      writeFileSync(file, readFileSync(file, "utf8").replaceAll('"./Main.ts"', '"./Main.js"'))
    }
    copyFileSync(join(root, "src", "python", "shim.py"), join(path, "python", "shim.py"))
    writeFileSync(join(path, ".digest"), before)
    replaceFolder(path, join(root, "dist"))
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

/** Builds when a source changed since the last build. */
export const buildWhenStale = (options) => {
  if (!existsSync(digestFile) || readFileSync(digestFile, "utf8") !== digest()) build(options)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(() => buildWhenStale({ env: localEnvironment(), log: (line) => process.stderr.write(`${line}\n`) }))
}
