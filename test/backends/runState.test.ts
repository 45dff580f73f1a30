import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { MachineShape } from "../../src/backends/Backend.ts"
import { SaveFailed } from "../../src/backends/BackendError.ts"
import * as runState from "../../src/backends/internal/runState.ts"
import * as qemuSave from "../../src/backends/qemu/save.ts"
import type { QmpService } from "../../src/transport/qmp/Qmp.ts"
import { TransportError } from "../../src/transport/ShellError.ts"
import { collecting } from "../driver/storeSupport.ts"

const shape: MachineShape = {
  name: "web",
  image: { digest: "0", kernel: "", initrd: "", cmdline: "", root: undefined, guest: "tiny", builtAt: 0 },
  memory: 2 ** 27,
  cpus: 1,
  networks: [],
  internet: false,
  forwards: [],
  allowReboot: false,
  directory: "/nonexistent"
}

describe("a guest that stands still", () => {
  it.live("is told of when it does not go on", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const gone = new TransportError({ machine: "web", socket: "qmp", reason: "it does not answer" })
      const state = runState.make({
        isRunning: Effect.succeed(true),
        stop: Effect.void,
        resume: Effect.fail(gone),
        save: (directory) => Effect.succeed({ directory }),
        notSaved: (_, directory) => new SaveFailed({ machine: "web", directory, reason: "" })
      })
      yield* Effect.flatMap(state.exclusive, ({ pause }) => pause).pipe(Effect.scoped, Effect.provide(layer))
      assert.lengthOf(lines, 1)
      assert.match(lines[0] ?? "", /could not resume a guest after it was saved: web: it does not answer/)
    })
  )

  it.live("still does when saving it once more is given up halfway", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-still-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const directory = Path.join(folder, "saved")
      Fs.mkdirSync(directory)
      const [going, answered] = [yield* Latch.make(), yield* Latch.make()]
      let running = false
      const answers: Readonly<Record<string, Effect.Effect<unknown>>> = {
        "query-status": Effect.succeed({ status: "postmigrate", running: false }),
        "qom-list": Effect.succeed([]),
        cont: Effect.sync(() => (running = true)).pipe(Effect.andThen(going.open), Effect.andThen(answered.await)),
        stop: Effect.sync(() => (running = false))
      }
      const control = {
        execute: (command: string) => answers[command] ?? Effect.void
      } as Partial<QmpService> as QmpService
      const sockets = { qmp: "", save: Path.join(folder, "save"), load: "", tpm: "", cards: [], ports: [] }
      const saving = yield* Effect.forkChild(
        qemuSave.save({ shape, sockets, control, console: Effect.succeed(""), timeScale: 1 }, directory)
      )
      yield* going.await
      const leaving = yield* Effect.forkChild(Fiber.interrupt(saving), { startImmediately: true })
      yield* answered.open
      yield* Fiber.join(leaving)
      assert.isFalse(running)
    })
  )
})
