/** Machines on played hypervisors. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { MachineShape } from "../../src/backends/Backend.ts"
import type { Description } from "./description.ts"
import type { Play } from "./playedVmm.ts"

export const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-vmm-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** A program that plays a hypervisor like this. */
export const played = (directory: string, script: string, play: Play = {}): string => {
  const path = Path.join(directory, `played-${Fs.readdirSync(directory).length}`)
  const file = fileURLToPath(new URL(script, import.meta.url))
  const words = JSON.stringify(play).replaceAll("'", "'\\''")
  Fs.writeFileSync(
    path,
    `#!/bin/sh\nVMTEST_PLAY='${words}' exec "${process.execPath}" --disable-warning=ExperimentalWarning "${file}" "$@"\n`,
    { mode: 0o755 }
  )
  return path
}

/** A machine whose files exist, in a folder of its own. */
export const shapeIn = (directory: string, name: string, change: Partial<MachineShape> = {}): MachineShape => {
  const file = (path: string, text: string) => {
    const at = Path.join(directory, path)
    if (!Fs.existsSync(at)) Fs.writeFileSync(at, text)
    return at
  }
  const own = Path.join(directory, name)
  Fs.mkdirSync(own, { recursive: true })
  return {
    name,
    image: {
      digest: "d1",
      kernel: file("kernel", "\x7fELF"),
      initrd: file("initrd", ""),
      cmdline: "quiet",
      root: file("root.erofs", "root"),
      guest: "debian",
      builtAt: 0
    },
    memory: 2 ** 27,
    cpus: 1,
    networks: [],
    internet: false,
    forwards: [],
    allowReboot: false,
    directory: own,
    ...change
  }
}

export interface Sent {
  readonly method: string
  readonly path: string
  readonly body: unknown
}

/** What a machine's hypervisor was asked, each request checked against the description. */
export const requestsOf = (
  { directory }: Pick<MachineShape, "directory">,
  description: Description
): ReadonlyArray<Sent> => {
  const file = Path.join(directory, "requests.jsonl")
  const sent: ReadonlyArray<Sent> = Fs.existsSync(file)
    ? Fs.readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
    : []
  for (const { body, method, path } of sent) assert.isUndefined(description.check(method, path, body))
  return sent
}

const everyTenth = Schedule.spaced("10 millis")

/** Waits until something holds. */
export const eventually = (holds: () => boolean) =>
  Effect.suspend(() => (holds() ? Effect.void : Effect.fail("not yet"))).pipe(
    Effect.retry({ schedule: everyTenth }),
    Effect.timeout("10 seconds")
  )
