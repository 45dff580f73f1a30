/** A lane of the agent itself, run by this host's shells on sockets, as over vsock. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Duplex } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { agent } from "../../src/transport/internal/agent.ts"
import { folder } from "./peer.ts"

const lane = `. $_vt_d/bash; _vt_prepare 1; exec bash $_vt_d/bash $_vt_d 1 lane 0123456789abcdef`

const soon = (holds: () => boolean) =>
  Effect.sync(holds).pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("20 millis") }),
    Effect.timeout("10 seconds")
  )

const lives = (group: number): boolean => {
  try {
    return process.kill(-group, 0)
  } catch {
    return false
  }
}

describe("a lane on sockets", () => {
  it.live("ends with all its processes when its connections do", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      Fs.writeFileSync(Path.join(directory, "bash"), agent)
      // What Node calls pipes are pairs of sockets.
      const run = spawn("bash", ["-c", lane], {
        env: { ...process.env, _vt_d: directory },
        stdio: ["ignore", "ignore", "ignore", "pipe", "ignore", "ignore", "pipe", "pipe"],
        detached: true
      })
      const { pid = 0 } = run
      yield* Effect.addFinalizer(() => Effect.sync(() => lives(pid) && process.kill(-pid, "SIGKILL")))
      let said = ""
      run.stdio[6 as 4]?.on("data", (chunk) => {
        said += chunk
      })
      yield* soon(() => said.endsWith(" R\n"))
      assert.isTrue(lives(pid))
      for (const end of run.stdio.slice(3)) (end as Duplex | null)?.destroy()
      yield* soon(() => !lives(pid))
    }).pipe(Effect.scoped)
  )
})
