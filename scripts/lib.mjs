// What the scripts share. Plain JavaScript for Node 20 and up without node_modules: it runs before there is anything else.
import { spawnSync } from "node:child_process"
import { accessSync, constants, existsSync } from "node:fs"
import { constants as os } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** The checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

const localBin = join(root, "node_modules", ".bin")

const foreignPath = () => (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== localBin)

/** The environment in which `node` is the checkout's own, whatever Node started this script. */
export const localEnvironment = () => ({ ...process.env, PATH: [localBin, ...foreignPath()].join(delimiter) })

/** The environment in which `node` is the machine's: `npm ci` removes the checkout's while it works. */
export const systemEnvironment = () => ({ ...process.env, PATH: foreignPath().join(delimiter) })

/** Whether a program is in PATH or where a system administrator's programs are. */
export const hasProgram = (name) =>
  [...foreignPath(), "/usr/local/sbin", "/usr/sbin", "/sbin"].some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** Whether a file is there. */
export const hasFile = (path) => existsSync(path)

/** Runs a program in the checkout with our own stdin, stdout and stderr, and gives its exit code (128 + n for signal n). */
export const run = (command, args, options = {}) => {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options })
  if (result.error) {
    process.stderr.write(`${command}: ${result.error.message}\n`)
    return 127
  }
  return result.signal ? 128 + os.signals[result.signal] : (result.status ?? 1)
}

/** Ends a script with a message that says what to do. */
export class Stop extends Error {
  constructor(message, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Runs a script's main function; a Stop becomes its message and exit code. */
export const main = (body) => {
  try {
    process.exitCode = body() ?? 0
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = error.exitCode
  }
}
