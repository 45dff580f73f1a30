/** What a snapshot store may meet: bits that flip, files that are cut, runs that are killed at any moment. */
import { cpSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Effect from "effect/Effect"
import * as Entries from "../src/driver/internal/snapshotEntries.ts"
import * as SnapshotStore from "../src/driver/SnapshotStore.ts"
import * as Store from "../src/host/Store.ts"
import { collecting, spoil } from "../test/driver/storeSupport.ts"
import { processes, script, start, storeOf, vmtest } from "./snapshotPlace.ts"

/** A test of one tiny machine, which says what it found. */
export const tinyTest = (place: string): string =>
  script(
    place,
    "tiny.ts",
    `import { Image, test } from "vmtest"
export default test("tiny", { machines: { a: { image: Image.tiny(), memory: "128 MiB" } } },
  ({ a }) => a.succeed("test $(hostname) = a && echo fine > /tmp/x && cat /tmp/x"))`
  )

/** A test of one tiny machine whose disk must be as its warm-up made it, which must have found it empty. */
const diskTest = (place: string): string =>
  script(
    place,
    "disk.ts",
    `import { Image, test } from "vmtest"
const machine = { image: Image.tiny(), memory: "128 MiB", disks: ["8 MiB"], warmUp: (a) => a.succeed(
  "! head -c 6 /dev/vda | grep -q warmed && echo warmed | dd of=/dev/vda bs=512 conv=sync,fsync") }
export default test("disk", { machines: { a: machine } }, ({ a }) => a.succeed("test $(head -c 6 /dev/vda) = warmed"))`
  )

/** The store of a place, for as long as it is looked at. */
const inStore = <A, E>(place: string, use: (store: Store.Store) => Effect.Effect<A, E>): Promise<A> =>
  Store.make(Effect.succeed(storeOf(place))).pipe(Effect.flatten, Effect.flatMap(use), Effect.scoped, Effect.runPromise)

const entriesOf = (place: string) => {
  const folder = join(storeOf(place), "entries")
  return existsSync(folder) ? readdirSync(folder).map((id) => join(folder, id)) : []
}

/**
 * Spoils a copy of the one entry of the place, `times` times, and asks the store for it as a run does. Gives what was used all the same, or
 * was not warned of once; there must be none.
 */
export const flips = async (place: string, times: number, random: () => number): Promise<ReadonlyArray<string>> => {
  const [entry] = entriesOf(place)
  if (entry === undefined) return ["there is nothing in the store"]
  const id = entry.slice(entry.lastIndexOf("/") + 1)
  const stored = await inStore(place, (store) => Effect.succeed(Entries.read(store, id)))
  if (stored === undefined || "problem" in stored) return ["the entry is damaged to begin with"]
  const { host, name, subject } = stored.manifest
  const pristine = join(place, "pristine")
  cpSync(entry, pristine, { recursive: true })
  const wrong: Array<string> = []
  for (let round = 0; round < times; round++) {
    const done = spoil(entry, random)
    const { layer, lines } = collecting()
    const found = await Effect.runPromise(
      Effect.flatMap(SnapshotStore.make({ folder: storeOf(place) }), (store) =>
        store.lookup({ host, name, subject })
      ).pipe(
        Effect.map(({ _tag }) => _tag),
        Effect.scoped,
        Effect.provide(layer)
      )
    )
    if (found !== "Miss" || lines.length !== 1) wrong.push(`${done}: ${found}, ${lines.length} warnings`)
    rmSync(entry, { recursive: true, force: true })
    cpSync(pristine, entry, { recursive: true })
  }
  rmSync(pristine, { recursive: true })
  return wrong
}

/** Spoils the one entry of the place and runs a test on it: it must pass, on a machine that has booted, with one warning. */
export const flipToTheEnd = (place: string, random: () => number): string | undefined => {
  const name = tinyTest(place)
  const [entry] = entriesOf(place)
  if (entry === undefined) return "there is nothing in the store"
  const done = spoil(entry, random)
  const { all, status, stderr } = vmtest(place, ["run", name])
  const fine = status === 0 && /a: ready after/.test(stderr) && stderr.match(/discarding the snapshot/g)?.length === 1
  return fine ? undefined : `${done}:\n${all}`
}

/** Makes an entry that is whole, but whose devices no hypervisor loads. */
const unloadable = (place: string, id: string): Promise<unknown> =>
  inStore(place, (store) => {
    const stored = Entries.read(store, id)
    if (stored === undefined || "problem" in stored) throw new Error(`${id} is damaged to begin with`)
    const { createdAt, host, inputs, name, subject } = stored.manifest
    const state = join(Entries.machineOf(stored.folder), "state")
    writeFileSync(state, Buffer.alloc(statSync(state).size))
    const moved = join(store.temporary, id)
    renameSync(stored.folder, moved)
    return Entries.publish(store, moved, id, { createdAt, host, inputs, name, subject })
  })

/**
 * Makes what is stored of a machine with a disk, before its warm-up and after it, damaged, or `whole` but not to be loaded, and runs its test: it must
 * pass, on a machine that has booted with an empty disk, with a warning for each.
 */
export const diskToTheEnd = async (
  place: string,
  whole: boolean,
  random: () => number
): Promise<string | undefined> => {
  rmSync(join(storeOf(place), "entries"), { recursive: true, force: true })
  const name = diskTest(place)
  const first = vmtest(place, ["run", name])
  const entries = entriesOf(place)
  if (first.status !== 0 || entries.length !== 2) return `${entries.length} entries:\n${first.all}`
  const done: Array<string> = []
  for (const entry of entries) {
    if (!whole) done.push(spoil(entry, random))
    else await unloadable(place, entry.slice(entry.lastIndexOf("/") + 1))
  }
  const { all, status, stderr } = vmtest(place, ["run", name])
  const fine = status === 0 && /a: ready after/.test(stderr) && stderr.match(/discarding the snapshot/g)?.length === 2
  return fine ? undefined : `${done.join(", ")}:\n${all}`
}

/** Why the store of the place is wrong: something in it that a run would use and should not. */
export const storeProblem = (place: string): Promise<string | undefined> =>
  inStore(
    place,
    Effect.fnUntraced(function* (store) {
      for (const id of Store.ids(store)) {
        const entry = Entries.read(store, id)
        if (entry === undefined || "problem" in entry) return `${id}: ${entry?.problem ?? "gone"}`
        const problem =
          Entries.sizeProblem(Entries.machineOf(entry.folder), entry.manifest.files) ?? (yield* Entries.damage(entry))
        if (problem !== undefined) return `${id}: ${problem}`
      }
      return undefined
    })
  )

/** Waits until nothing runs any more of what was started for the place, and says what does after ten seconds. */
export const untilNothingRuns = async (place: string): Promise<string | undefined> => {
  const deadline = Date.now() + 10_000
  while (processes(place).length > 0 && Date.now() < deadline) await sleep(50)
  const left = processes(place)
  return left.length === 0 ? undefined : `still running: ${left.join("; ")}`
}

/**
 * Kills a run with SIGKILL `after` milliseconds from its start; with `empty` the store has nothing, so that the run is about to make a
 * snapshot, else it forks one. Gives what is wrong afterwards: something that still runs, or a store that is damaged.
 */
export const killedRun = async (place: string, empty: boolean, after: number): Promise<string | undefined> => {
  const name = tinyTest(place)
  if (empty) rmSync(join(storeOf(place), "entries"), { recursive: true, force: true })
  const run = start(place, ["run", name])
  const ended = new Promise<void>((resolve) => run.once("exit", () => resolve()))
  await Promise.race([sleep(after), ended])
  run.kill("SIGKILL")
  await ended
  const problem = (await untilNothingRuns(place)) ?? (await storeProblem(place))
  return problem === undefined ? undefined : `after ${after} ms: ${problem}`
}

/** Runs the test to its end: it must pass, and leave nothing in the store's temporary folder. */
export const goodRun = (place: string): string | undefined => {
  const { all, status } = vmtest(place, ["run", tinyTest(place)])
  if (status !== 0) return all
  const left = readdirSync(join(storeOf(place), "tmp"))
  return left.length === 0 ? undefined : `left in the store: ${left.join(", ")}`
}
