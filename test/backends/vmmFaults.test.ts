/** What goes wrong with a hypervisor that is controlled over HTTP, whichever it is: at each request of a boot, a save and a restore. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type BackendService, connect, type MachineShape, type SavedMachine } from "../../src/backends/Backend.ts"
import * as CloudHypervisor from "../../src/backends/cloudhypervisor/CloudHypervisor.ts"
import * as Firecracker from "../../src/backends/firecracker/Firecracker.ts"
import * as Description from "./description.ts"
import type { Play } from "./playedVmm.ts"
import { eventually, folder, played, requestsOf, shapeIn } from "./vmmSupport.ts"

/** One hypervisor, and the requests that it gets. */
interface Vmm {
  readonly called: string
  readonly make: (program: string) => BackendService
  readonly played: string
  readonly description: Description.Description
  readonly boot: ReadonlyArray<string>
  readonly save: ReadonlyArray<string>
  readonly load: ReadonlyArray<string>
  readonly resume: string
  /** A refusal with these words, and how they are said. */
  readonly refusal: (...words: ReadonlyArray<string>) => { readonly status: number; readonly body: unknown }
}

const inNamespace = (_: unknown, inside: { readonly command: string; readonly args: ReadonlyArray<string> }) => inside
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

const vmms: ReadonlyArray<Vmm> = [
  {
    called: "Firecracker",
    // A version that a pause does not harm.
    make: (program) => Firecracker.make({ program, version: "1.15.1", inNamespace }),
    played: "./firecracker/playedFirecracker.ts",
    description: Description.read(at("./firecracker/description/firecracker.yaml")),
    boot: [
      ...["GET /version", "PUT /machine-config", "PUT /boot-source", "PUT /drives/root"],
      ...["PUT /network-interfaces/eth0", "PUT /vsock", "PUT /entropy", "PUT /actions"]
    ],
    save: ["PATCH /vm", "PUT /snapshot/create"],
    load: ["GET /version", "PUT /snapshot/load"],
    resume: "PATCH /vm",
    refusal: (...words) => ({ status: 400, body: { fault_message: words.join(": ") } })
  },
  {
    called: "Cloud Hypervisor",
    make: (program) => CloudHypervisor.make({ program, version: "53.0", inNamespace }),
    played: "./cloudhypervisor/playedCloudHypervisor.ts",
    description: Description.read(at("./cloudhypervisor/description/cloud-hypervisor.yaml"), "/api/v1"),
    boot: ["GET /api/v1/vmm.ping", "PUT /api/v1/vm.create", "PUT /api/v1/vm.boot"],
    save: ["PUT /api/v1/vm.pause", "PUT /api/v1/vm.snapshot"],
    load: ["GET /api/v1/vmm.ping", "PUT /api/v1/vm.restore", "PUT /api/v1/vm.resume"],
    resume: "PUT /api/v1/vm.resume",
    refusal: (...words) => ({ status: 500, body: ["Error from API", ...words] })
  }
]

/** The processes that run in a folder. */
const processesIn = (directory: string): ReadonlyArray<string> =>
  Fs.readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return Fs.readlinkSync(`/proc/${pid}/cwd`) === directory
      } catch {
        return false
      }
    })

/** What is left of a machine that did not start: no process, and no socket. */
const leavesNothing = ({ directory }: MachineShape) =>
  Effect.gen(function* () {
    yield* eventually(() => processesIn(directory).length === 0)
    assert.deepStrictEqual(
      Fs.readdirSync(directory).filter((name) => Fs.lstatSync(Path.join(directory, name)).isSocket()),
      []
    )
  })

for (const vmm of vmms) {
  const start = (directory: string, shape: MachineShape, play?: Play, from?: SavedMachine) =>
    vmm.make(played(directory, vmm.played, play)).start(shape, { from })

  /** Starts a machine that does not come up, and gives why. */
  const refused = (directory: string, name: string, play: Play, from?: SavedMachine) =>
    Effect.gen(function* () {
      const shape = shapeIn(directory, name)
      const error = yield* Effect.flip(Effect.scoped(start(directory, shape, play, from)))
      requestsOf(shape, vmm.description)
      yield* leavesNothing(shape)
      return error
    })

  const saved = (directory: string) =>
    Effect.gen(function* () {
      const target = Path.join(directory, "saved")
      Fs.mkdirSync(target)
      const control = yield* connect(yield* start(directory, shapeIn(directory, "source")))
      return yield* control.save(target)
    })

  describe(`a ${vmm.called} that fails`, () => {
    it.live("says at which request of a boot it was killed, and leaves nothing", () =>
      Effect.gen(function* () {
        const directory = yield* folder
        for (const [index, stage] of vmm.boot.entries()) {
          const error = yield* refused(directory, `killed${index}`, { die: [stage] })
          assert.deepInclude(error, { _tag: "StartFailed", stage })
          assert.include(error.message, `its ${vmm.called} ended with signal SIGKILL`)
        }
        const end = { exitCode: 1, message: "Failed to open the API socket" }
        const early = yield* refused(directory, "early", { end })
        assert.include(early.message, `its ${vmm.called} ended with exit code 1\n${end.message}`)
      }).pipe(Effect.scoped)
    )

    it.live("says which request of a boot it refused, in its own words, and leaves nothing", () =>
      Effect.gen(function* () {
        const directory = yield* folder
        const cases = [
          ["Invalid Elf magic number"],
          ["Error manipulating the backing file", "No such file or directory (os error 2)"],
          ["Open tap device failed", "Resource busy (os error 16)"]
        ]
        // The first is the greeting, which is repeated until it is answered.
        for (const [index, stage] of vmm.boot.slice(1).entries()) {
          const words = cases[index % cases.length] ?? []
          const error = yield* refused(directory, `refused${index}`, { refuse: { [stage]: vmm.refusal(...words) } })
          assert.deepInclude(error, { _tag: "StartFailed", stage })
          assert.include(error.message, words.join(": "))
        }
      }).pipe(Effect.scoped)
    )

    it.live("says at which request of a restore it was killed, or what it refused, and leaves nothing", () =>
      Effect.gen(function* () {
        const directory = yield* folder
        const from = yield* saved(directory)
        for (const [index, stage] of vmm.load.entries()) {
          const killed = yield* refused(directory, `killed${index}`, { die: [stage] }, from)
          assert.deepInclude(killed, { _tag: "LoadFailed", stage, damaged: false })
          assert.include(killed.message, "signal SIGKILL")
          if (index === 0) continue
          const refuse = { [stage]: vmm.refusal("Open tap device failed", "Resource busy (os error 16)") }
          const busy = yield* refused(directory, `busy${index}`, { refuse }, from)
          assert.deepInclude(busy, { _tag: "LoadFailed", stage, damaged: false })
          assert.include(busy.message, "Resource busy")
        }
      }).pipe(Effect.scoped)
    )

    it.live("is not saved when it is killed meanwhile, and its end is known", () =>
      Effect.gen(function* () {
        const directory = yield* folder
        for (const [index, step] of vmm.save.entries()) {
          const machine = yield* start(directory, shapeIn(directory, `killed${index}`), { die: [step] })
          const target = Path.join(directory, `saved${index}`)
          Fs.mkdirSync(target)
          const error = yield* Effect.flip(Effect.flatMap(connect(machine), ({ save }) => save(target)))
          assert.strictEqual(error._tag, "SaveFailed")
          assert.include(error.message, `hung up before it answered ${step}`)
          assert.deepInclude(yield* machine.exited, { cause: "host", signal: "SIGKILL" })
          assert.isFalse(Fs.existsSync(Path.join(target, "machine.json")))
        }
      }).pipe(Effect.scoped)
    )

    it.live("runs on when it could not be saved, and says why in its own words", () =>
      Effect.gen(function* () {
        const directory = yield* folder
        const shape = shapeIn(directory, "web")
        const [, stage = ""] = vmm.save
        const words = ["Cannot write memory", "No space left on device (os error 28)"]
        const control = yield* connect(yield* start(directory, shape, { refuse: { [stage]: vmm.refusal(...words) } }))
        const target = Path.join(directory, "saved")
        Fs.mkdirSync(target)
        const error = yield* Effect.flip(control.save(target))
        assert.strictEqual(error._tag, "SaveFailed")
        assert.include(error.message, words.join(": "))
        yield* eventually(() => {
          const last = requestsOf(shape, vmm.description).at(-1)
          return `${last?.method} ${last?.path}` === vmm.resume && !JSON.stringify(last?.body ?? "").includes("Paused")
        })
      }).pipe(Effect.scoped)
    )
  })
}
