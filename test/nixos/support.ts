/** `nixos-test-driver` as a process, in a folder of the test's own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach } from "vitest"
import { quote } from "../../src/host/Quote.ts"

const launcher = fileURLToPath(new URL("../../src/nixos/Launcher.ts", import.meta.url))

/** What a configuration has besides the script. */
export interface Written {
  readonly script: string
  readonly vms?: Readonly<Record<string, { readonly start_script: string }>>
  readonly vlans?: ReadonlyArray<number>
  readonly global_timeout?: number
  readonly enable_ssh_backdoor?: boolean
}

interface RunOptions {
  /** A command that runs it. */
  readonly before?: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv
  readonly input?: string
}

/** Gives each test of a suite a folder of its own, which is removed after it. */
export const place = () => {
  let folder = ""
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "vmtest-driver-"))
    for (const name of ["run", "out"]) mkdirSync(join(folder, name), { mode: 0o700 })
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const path = (...names: ReadonlyArray<string>) => join(folder, ...names)
  const environment = (more: NodeJS.ProcessEnv = {}) => ({
    ...process.env,
    ...{ NO_COLOR: "1", XDG_RUNTIME_DIR: path("run"), LOGFILE: path("log.xml"), DISPLAY: undefined },
    ...more
  })
  const options = (env?: NodeJS.ProcessEnv) => ({ cwd: folder, env: environment(env) })

  /** Writes a file of the test's, and gives its path. */
  const write = (name: string, text: string, mode = 0o644) => {
    writeFileSync(path(name), text, { mode })
    return path(name)
  }

  /** Writes a script and its configuration; gives the words for it. */
  const configured = ({ script, ...more }: Written, name = "script"): Array<string> => {
    const whole = { vms: {}, containers: {}, vlans: [], global_timeout: 60, enable_ssh_backdoor: false, ...more }
    const test_script = write(name, script)
    return ["--config", write("config.json", JSON.stringify({ ...whole, test_script })), "-o", path("out")]
  }

  /** Runs it to its end. */
  const run = (args: ReadonlyArray<string>, { before = [], env, input = "" }: RunOptions = {}) => {
    const [command = "", ...words] = [...before, process.execPath, launcher, ...args]
    const { status, stderr, stdout } = spawnSync(command, words, {
      ...options(env),
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
      input
    })
    return { status, stderr, stdout }
  }

  /** Starts it, and notes what it prints. */
  const start = (args: ReadonlyArray<string>, env?: NodeJS.ProcessEnv) =>
    watch(process.execPath, [launcher, ...args], env)

  /** Starts it on a terminal of its own, where what is written to the child is typed. */
  const startOnTerminal = (args: ReadonlyArray<string>, env?: NodeJS.ProcessEnv) =>
    // The shell must not wait for it: Ctrl-C goes to both, and dash would then end with 130 whatever the program ends with.
    watch("script", ["-qec", `exec ${[process.execPath, launcher, ...args].map(quote).join(" ")}`, "/dev/null"], {
      ...env,
      SHELL: "/bin/sh"
    })

  const watch = (command: string, words: ReadonlyArray<string>, env?: NodeJS.ProcessEnv) => {
    const child: ChildProcess = spawn(command, words, {
      ...options(env),
      stdio: ["pipe", "pipe", "pipe"]
    })
    let said = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        said += chunk.toString()
      })
    }
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve))
    const says = async (what: RegExp, limit = 60_000) => {
      const deadline = performance.now() + limit
      while (!what.test(said)) {
        assert.isBelow(performance.now(), deadline, `${what} in: ${said}`)
        await sleep(20)
      }
      return what.exec(said) ?? []
    }
    return { child, ended, says, said: () => said }
  }

  /** The processes that know this folder: by their command, or by their environment. */
  const processes = (): Array<string> =>
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map((pid) => {
        try {
          const command = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")
          return `${command} ${readFileSync(`/proc/${pid}/environ`, "latin1")}`
        } catch {
          return ""
        }
      })
      .filter((known) => known.includes(folder))
      .map((known) => known.slice(0, 100))

  /** Waits until nothing of it runs, and asserts that no folder of a run is left. */
  const nothingLeft = async (limit = 5_000) => {
    const deadline = performance.now() + limit
    while (processes().length > 0) {
      assert.isBelow(performance.now(), deadline, processes().join("\n"))
      await sleep(20)
    }
  }
  const runFolders = () =>
    readdirSync(path("run")).flatMap((name) => (name === "vmtest" ? readdirSync(path("run", name)) : []))

  return {
    path,
    write,
    configured,
    run,
    start,
    startOnTerminal,
    nothingLeft,
    runFolders,
    read: (name: string) => readFileSync(path(name), "utf8")
  }
}
