import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Run from "../../src/cli/Run.ts"
import * as Image from "../../src/images/Image.ts"

/** What `vmtest image build` loads of a script. */
const load = (text: string, sources: Run.Sources = { orMachines: true }) =>
  Effect.gen(function* () {
    const folder = mkdtempSync(join(tmpdir(), "vmtest-module-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
    const script = join(folder, "script.ts")
    writeFileSync(script, `import { Image, test } from "vmtest"\n${text}\n`)
    return yield* Run.loadAll([script], sources)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const imagesOf = (tests: Effect.Success<ReturnType<typeof load>>) =>
  tests?.flatMap(({ machines }) => Object.values(machines).map(({ image }) => image))

describe("a module that only declares machines", () => {
  const machines = 'export default { web: { image: Image.tiny() }, "db-1": { image: Image.debian() } }'

  it.live("has images to build", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(imagesOf(yield* load(machines)), [Image.tiny(), Image.debian()])
    })
  )

  it.live("is a script only where its machines are all that is wanted", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* load(machines, {}))
      const script =
        'export default test("one", { machines: { web: { image: Image.tiny() } } }, ({ web }) => web.start)'
      assert.deepStrictEqual(imagesOf(yield* load(script)), [Image.tiny()])
    })
  )

  it.live("is what to build the images of a Python script from, which declares none itself", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-module-"))
      const script = join(folder, "script.py")
      writeFileSync(script, "start_all()\n")
      const error = yield* Effect.flip(Run.load({ orMachines: true })(script))
      rmSync(folder, { recursive: true })
      assert.include(error.message, "script.py: a Python script does not declare machines; give the module")
      assert.include(error.message, "vmtest image build machines.ts")
      assert.notInclude(error.message, "needs --machines")
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("is refused if a declaration is wrong, and so is an object of other things", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* load("export default { web: { image: Image.tiny(), memry: 3 } }"))
      assert.isUndefined(yield* load("export default { a: 1 }"))
      assert.isUndefined(yield* load("export default {}"))
    })
  )
})
