/** Workers and clients of a fleet as processes, as a user starts them. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../../src/cli/Launcher.ts", import.meta.url))

/** A process of the command. */
export interface Command {
  readonly pid: number
  /** What it has printed so far. */
  readonly said: () => string
  /** Waits until it has printed something. */
  readonly says: (pattern: RegExp, timeout?: number) => Promise<string>
  readonly signal: (signal: NodeJS.Signals) => void
  readonly ended: Promise<number | NodeJS.Signals>
}

const running = new Set<ChildProcess>()

/** Ends what is left. */
export const endAll = (): void => {
  for (const child of running) child.kill("SIGKILL")
}

/** Starts `vmtest …`. */
export const vmtest = (
  args: ReadonlyArray<string>,
  options: { readonly cwd: string; readonly env?: Record<string, string> }
): Command => {
  const child = spawn(process.execPath, [launcher, ...args], {
    cwd: options.cwd,
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  running.add(child)
  let text = ""
  const waits = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      text += part
      for (const wake of waits) wake()
    })
  }
  const ended = new Promise<number | NodeJS.Signals>((resolve) =>
    child.once("close", (code, signal) => {
      running.delete(child)
      resolve(signal ?? code ?? -1)
      for (const wake of waits) wake()
    })
  )
  return {
    pid: child.pid ?? -1,
    said: () => text,
    ended,
    signal: (signal) => void child.kill(signal),
    says: (pattern, timeout = 60_000) =>
      new Promise((resolve, reject) => {
        const done = (settle: () => void) => {
          clearTimeout(timer)
          waits.delete(look)
          settle()
        }
        const timer = setTimeout(
          () => done(() => reject(new Error(`${args.join(" ")} did not say ${pattern}; it said:\n${text}`))),
          timeout
        )
        const look = () => {
          if (pattern.test(text)) done(() => resolve(text))
          else if (child.exitCode !== null || child.signalCode !== null)
            done(() => reject(new Error(`${args.join(" ")} ended without saying ${pattern}; it said:\n${text}`)))
        }
        waits.add(look)
        look()
      })
  }
}

/** A folder with test files, and its removal. */
export const project = (
  files: Readonly<Record<string, string>>
): { readonly folder: string; readonly remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), "vmtest-fleet-"))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** A file with one test that takes a while, and prints where it runs. */
export const sleeper = (name: string, millis: number): string => `import { Effect } from "effect"
import { test } from "vmtest"
export default test(${JSON.stringify(name)}, {}, () =>
  Effect.gen(function* () {
    console.log(\`${name} on \${process.pid}\`)
    yield* Effect.sleep(${millis})
  })
)
`
